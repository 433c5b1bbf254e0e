/**
 * Carries calls to other nodes of ours over one open stream per node, where the action declares `grpc` and the stream is
 * there; over the message server otherwise. The node is the one that the balancer chose. Streams open at the first call
 * that could use one, so nodes that have nothing to say to each other have none.
 *
 * | the stream breaks | the call |
 * |---|---|
 * | before it was sent, or it was refused | goes over the message server |
 * | after it was sent, the action is idempotent | goes over the message server; where that node is gone or silent, fails as REQUEST_REJECTED, and whoever repeats calls chooses another |
 * | after it was sent, the action is not | fails as REQUEST_REJECTED, as it does when a node dies: it may have taken effect |
 *
 * A stream that carries nothing is told from a node that is silent: the stream finds out for itself whether it carries,
 * and until it does calls go over the message server; who owes an answer is told to the transporter, which asks the node.
 */
import { type Context, Errors, type ServiceBroker } from "moleculer";
import { GIVEN_UP } from "../deadline.middleware.ts";
import { CallRefused, PeerStream, StreamBroken } from "./peer-stream.ts";

type Next = (ctx: Context) => Promise<unknown>;

interface Link {
  /** The port and token that it was opened with; others mean that the node has been started anew. */
  key: string;
  stream: PeerStream;
}

interface Node {
  id: string;
  ipList: string[];
  available: boolean;
  metadata?: { grpcPort?: number; grpcToken?: string; grpcPacks?: boolean };
}

export class Peers {
  readonly #broker: ServiceBroker;
  readonly #links = new Map<string, Link>();
  #isClosed = false;
  /** Calls that went over a stream, for whoever asks. */
  carried = 0;

  constructor(broker: ServiceBroker) {
    this.#broker = broker;
    broker.localBus.on("$node.disconnected", ({ node }: { node: Node }) => this.#drop(node.id));
    broker.localBus.on("$node.updated", ({ node }: { node: Node }) => {
      if (this.#links.has(node.id)) this.#linkTo(node);
    });
    broker.localBus.on(GIVEN_UP, (ctx: Context, err: Error) => {
      if (ctx.nodeID) this.#links.get(ctx.nodeID)?.stream.giveUp(ctx, err);
    });
  }

  call(ctx: Context, next: Next): Promise<unknown> {
    const stream = this.#streamFor(ctx);
    const answer = stream?.isReady ? stream.call(ctx) : undefined;
    if (!answer) return next(ctx);
    this.carried++;
    return answer.catch((err) => {
      if (err instanceof CallRefused) return next(ctx);
      if (!(err instanceof StreamBroken)) throw err;
      const { action, nodeID } = ctx;
      const isThere = this.#nodeOf(nodeID)?.available;
      if (action?.idempotent && isThere) return next(ctx);
      throw new Errors.RequestRejectedError({ action: action?.name, nodeID });
    });
  }

  /** The nodes that have not answered yet. */
  *owing(): Iterable<string> {
    for (const [nodeID, { stream }] of this.#links) if (stream.isAwaited) yield nodeID;
  }

  close(): void {
    this.#isClosed = true;
    for (const nodeID of this.#links.keys()) this.#drop(nodeID);
  }

  #streamFor({ nodeID, options }: Context): PeerStream | undefined {
    if (this.#isClosed || !nodeID || options.stream) return undefined;
    const link = this.#links.get(nodeID);
    if (link) return link.stream;
    const node = this.#nodeOf(nodeID);
    return node && this.#linkTo(node);
  }

  #nodeOf(nodeID: string | null): Node | undefined {
    const nodes = this.#broker.registry.nodes as unknown as { get(id: string | null): Node | undefined };
    return nodes.get(nodeID);
  }

  #linkTo({ id, ipList, metadata = {} }: Node): PeerStream | undefined {
    const { grpcPort: port, grpcToken: token, grpcPacks: packs = false } = metadata;
    const host = ipList?.[0];
    const key = `${host} ${port} ${token}`;
    const link = this.#links.get(id);
    if (link?.key === key) return link.stream;
    this.#drop(id);
    if (host === undefined || port === undefined || token === undefined) return undefined;
    const stream = new PeerStream(this.#broker, { host, port, token, packs });
    this.#links.set(id, { key, stream });
    return stream;
  }

  #drop(nodeID: string): void {
    this.#links.get(nodeID)?.stream.close();
    this.#links.delete(nodeID);
  }
}
