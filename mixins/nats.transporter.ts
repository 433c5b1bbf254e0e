/**
 * Moleculer's NATS transporter, which notices what the stock one does not. A message to a node that is gone is
 * answered by the NATS server itself ("no responders"): the node leaves the registry at that moment instead of two
 * heartbeat time-outs later, and the request that was certainly not delivered fails as SERVICE_NOT_AVAILABLE,
 * which anything may repeat. A node that owes an answer and is silent (paused, or its line cut) is given up within
 * seconds, and taken back as soon as it is heard again. A lost connection is told ($transporter.disconnected,
 * transit.connected) and fails calls at once instead of swallowing them. Nothing here retries a call.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Errors, Transporters } from "moleculer";
import { createInbox, type Msg, type NatsConnection } from "nats";
import { Assembly, split } from "./nats.parts.ts";

/** For the broker's options: each broker makes an instance of its own. (The type knows the stock names only.) */
export const NATS_TRANSPORTER = "ShopNats" as "NATS";

const OPTIONS = {
  // A server that is frozen, or behind a cut line, is given up after three of these; by default after six minutes.
  pingInterval: 2_000,
  maxPingOut: 2,
  // Quick enough that an outage ends when the server is back, jittered so that the nodes do not come all at once.
  reconnectTimeWait: 200,
  reconnectJitter: 200,
  // One flap may not end a node: it tries for ever, also a server that refuses it twice while its settings change.
  maxReconnectAttempts: -1,
  ignoreAuthErrorAbort: true,
  timeout: 5_000,
};

/** Between two attempts to reach a server that was never reached: nodes and server often start together. */
const RETRY_MS = 500;
/** While a node owes an answer it is looked after this often: well below what a client waits. */
const PROBE_EVERY_MS = 500;
/**
 * So many probes in a row without an echo, and the node is paused or cut off: two seconds, which no healthy node's event
 * loop is ever late, and early enough that whoever waits can still be served by another. Counted, not timed: after a
 * pause of our own nobody else has missed anything.
 */
const MISSED_MAX = 4;
/** A flush on a healthy connection takes a millisecond; on one that is down it would wait for ever. */
const FLUSH_MS_MAX = 1_000;

/** What the framework's types leave out. */
interface Packet {
  type: string;
  target?: string | null;
  payload: { id?: string };
}
type Pending = Map<string, { nodeID?: string; action: { name: string }; reject(err: Error): void }>;

export class NatsTransporter extends Transporters.NATS {
  declare client: NatsConnection | null;
  readonly #closing = new AbortController();
  readonly #inbox = createInbox();
  readonly #assembly = new Assembly();
  #prober: NodeJS.Timeout | undefined;
  /** Probes that each node has not answered, since its last echo; of nodes that owe an answer, or owed one. */
  readonly #missed = new Map<string, number>();

  constructor(options: { url: string }) {
    super({ ...OPTIONS, ...options });
  }

  override async connect(): Promise<void> {
    this.opts.name = this.nodeID;
    while (!this.#closing.signal.aborted) {
      try {
        return await super.connect();
      } catch (err) {
        this.logger.warn(`NATS cannot be reached, trying again in ${RETRY_MS} ms: ${(err as Error).message}`);
        await sleep(RETRY_MS, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      }
    }
    // The broker was stopped meanwhile: an answer would let it start.
    await new Promise<never>(() => undefined);
  }

  override onConnected(wasReconnect?: boolean): Promise<void> {
    if (this.client && !wasReconnect) {
      this.client.subscribe(`${this.#inbox}.>`, { callback: (_err, reply) => this.#hear(reply) });
      void this.#watch(this.client);
      this.#prober = setInterval(() => this.#probe(), PROBE_EVERY_MS).unref();
    }
    return super.onConnected(wasReconnect);
  }

  override async disconnect(): Promise<void> {
    this.#closing.abort();
    clearInterval(this.#prober);
    const { client } = this;
    this.client = null;
    if (!client) return;
    const tooLong = sleep(FLUSH_MS_MAX, undefined, { ref: false });
    if (this.connected) await Promise.race([client.flush().catch(() => undefined), tooLong]);
    await client.close();
  }

  /** A request that was not sent is not pending either; the stock transit would keep it for ever. */
  override async prepublish(packet: Packet): Promise<void> {
    try {
      await super.prepublish(packet as never);
    } catch (err) {
      if (packet.type === "REQ") this.transit.removePendingRequest(packet.payload.id ?? "");
      throw err;
    }
  }

  override async subscribe(command: string, nodeID?: string): Promise<void> {
    this.client?.subscribe(this.getTopicName(command, nodeID), {
      callback: (_err, msg) => {
        if (msg.data.length === 0 && !msg.headers) return void msg.respond();
        const message = this.#assembly.add(msg);
        if (message?.length) void this.receive(command, message);
      },
    });
  }

  // Async: what cannot be sent throws at once.
  override async send(topic: string, data: Buffer, meta?: { packet?: Packet }): Promise<void> {
    const target = meta?.packet?.target;
    const id = meta?.packet?.type === "REQ" ? meta.packet.payload.id : undefined;
    const reply = target && this.#replyOf(target, id);
    for (const part of split(data))
      this.client?.publish(topic, part.data, {
        ...(part.headers && { headers: part.headers }),
        ...(reply && { reply }),
      });
  }

  /** An echo of a probe, or the NATS server's word that nobody listens there. */
  #hear(reply: Msg): void {
    const [target = "", id = ""] = reply.subject.slice(this.#inbox.length + 1).split(".");
    const nodeID = Buffer.from(target, "base64url").toString();
    const wasGivenUp = (this.#missed.get(nodeID) ?? 0) >= MISSED_MAX;
    this.#missed.delete(nodeID);
    if (reply.headers?.code !== 503) {
      if (wasGivenUp) void this.broker.registry.discoverer.discoverNode(nodeID);
      return;
    }
    const request = this.#pending.get(id);
    if (request) {
      this.transit.removePendingRequest(id);
      request.reject(new Errors.ServiceNotAvailableError({ action: request.action.name, nodeID }));
    }
    this.broker.registry.nodes.disconnected(nodeID, true);
  }

  /**
   * A request that reached a node just before its end, or while it is paused, waits in vain. An empty message finds
   * that out: the NATS server says that nobody listens, or nobody answers.
   */
  #probe(): void {
    if (!this.connected) {
      this.#missed.clear();
      return;
    }
    const owing = new Set([...this.#pending.values()].map(({ nodeID }) => nodeID));
    for (const nodeID of this.broker.owingNodes?.() ?? []) owing.add(nodeID);
    // Who has missed one is looked after until it is heard: those who waited may have given up sooner than this.
    for (const nodeID of new Set([...owing, ...this.#missed.keys()])) {
      if (!nodeID) continue;
      const missed = this.#missed.get(nodeID) ?? 0;
      if (missed === MISSED_MAX) {
        this.logger.warn(`${nodeID} is connected and silent: given up until it is heard again`);
        this.broker.registry.nodes.disconnected(nodeID, true);
      }
      this.#missed.set(nodeID, missed + 1);
      this.client?.publish(this.getTopicName("REQ", nodeID), "", { reply: this.#replyOf(nodeID) });
    }
  }

  /** Where the NATS server tells that nobody listened. A subject's tokens may not hold all that a node's name may. */
  #replyOf(nodeID: string, requestId = "-"): string {
    return `${this.#inbox}.${Buffer.from(nodeID).toString("base64url")}.${requestId}`;
  }

  get #pending(): Pending {
    return this.transit.pendingRequests as unknown as Pending;
  }

  async #watch(client: NatsConnection): Promise<void> {
    for await (const { type } of client.status()) {
      if (type === "disconnect" && this.connected) {
        this.connected = false;
        this.transit.connected = false;
        this.logger.warn("the connection to NATS is lost");
        this.broker.broadcastLocal("$transporter.disconnected", { graceFul: false });
      } else if (type === "reconnect") {
        // Before the others are told that we are back: an INFO is only sent by a transit that is connected.
        this.transit.connected = true;
        this.logger.info("the connection to NATS is back");
        await this.onConnected(true);
      }
    }
  }
}

Transporters.register(NATS_TRANSPORTER, NatsTransporter as never);
