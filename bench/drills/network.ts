/**
 * The network of a drill's cluster: all that nodes say to NATS, to PostgreSQL and to each other passes through it. It
 * breaks one link at a time, until it heals.
 */
import { pathToFileURL } from "node:url";
import { databaseName } from "../../config/database.ts";
import type { DatabaseName, ServiceName } from "../../config/index.ts";
import type { Cluster } from "../../scripts/cluster/cluster.ts";
import type { Links } from "./cluster.shop.ts";
import {
  type Direction,
  databaseOf,
  type Fault,
  natsNameOf,
  streamName,
  streamOf,
  TcpProxy,
} from "./proxy.ts";

const PRELOAD = pathToFileURL(`${import.meta.dirname}/through-proxy.ts`).href;

export class Network {
  readonly #nats: TcpProxy;
  readonly #streams: TcpProxy;
  readonly #postgres: TcpProxy;
  readonly #links: Links;

  private constructor(links: Links, nats: TcpProxy, streams: TcpProxy, postgres: TcpProxy) {
    this.#links = links;
    this.#nats = nats;
    this.#streams = streams;
    this.#postgres = postgres;
  }

  static async open(links: Links): Promise<Network> {
    return new Network(
      links,
      await TcpProxy.listen({ target: targetOf(links.nats), nameOf: natsNameOf, serverFirst: true }),
      await TcpProxy.listen({ nameOf: streamOf }),
      await TcpProxy.listen({ target: targetOf(links.postgres), nameOf: databaseOf }),
    );
  }

  /** The variables of a worker that lead it through here. */
  get env(): Record<string, string> {
    return {
      TRANSPORTER: `nats://127.0.0.1:${this.#nats.port}`,
      DATABASE_URL: Object.assign(new URL(this.#links.postgres.href), { port: String(this.#postgres.port) })
        .href,
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --import=${PRELOAD}`.trim(),
      STREAMS_VIA: String(this.#streams.port),
    };
  }

  /** One node from all others: what it says to NATS, and the streams from it and to it. `up` is from the node. */
  breakNode(cluster: Cluster, nodeID: string, fault: Fault): void {
    lay(this.#nats, nodeID, fault);
    const there = reversed(fault);
    for (const other of cluster.workers()) {
      if (other.nodeID === nodeID) continue;
      this.#layStream(cluster, nodeID, other.nodeID, fault);
      this.#layStream(cluster, other.nodeID, nodeID, there);
    }
  }

  /** One node from NATS alone: its streams, and those to it, go on. */
  breakNats(nodeID: string, fault: Fault): void {
    lay(this.#nats, nodeID, fault);
  }

  /** The streams from all nodes of one service to all nodes of another. Answers how many there are now. */
  breakStreams(cluster: Cluster, callers: ServiceName, service: ServiceName, fault: Fault): number {
    let streams = 0;
    for (const { nodeID: from } of cluster.workers(callers))
      for (const { nodeID: to } of cluster.workers(service))
        streams += this.#layStream(cluster, from, to, fault);
    if (streams === 0) throw new Error(`${callers} has no stream to ${service} through the proxy`);
    return streams;
  }

  breakDatabase(service: DatabaseName, fault: Fault): void {
    lay(this.#postgres, databaseName(service), fault);
  }

  heal(): void {
    for (const proxy of this.#proxies) proxy.heal();
  }

  async close(): Promise<void> {
    this.heal();
    for (const proxy of this.#proxies) await proxy.close();
  }

  get #proxies(): readonly TcpProxy[] {
    return [this.#nats, this.#streams, this.#postgres];
  }

  /** A stream that is not there now may be opened while the fault lasts. */
  #layStream(cluster: Cluster, from: string, to: string, fault: Fault): 0 | 1 {
    const port = cluster.grpcPortOf(to);
    if (port === undefined) return 0;
    const name = streamName(from, port);
    this.#streams.lay(name, fault);
    return this.#streams.names.includes(name) ? 1 : 0;
  }
}

function lay(proxy: TcpProxy, name: string, fault: Fault): void {
  if (!proxy.names.includes(name)) throw new Error(`${name} has no connection through the proxy`);
  proxy.lay(name, fault);
}

const OPPOSITE: Record<Direction, Direction> = { up: "down", down: "up" };
const reversed = ({ cut, ...fault }: Fault): Fault => ({
  ...fault,
  ...(cut && { cut: cut.map((direction) => OPPOSITE[direction]) }),
});
const targetOf = (url: URL) => ({ host: url.hostname, port: Number(url.port) });
