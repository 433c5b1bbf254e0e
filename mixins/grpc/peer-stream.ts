/**
 * The calling end of the stream to one node of ours: opens it, keeps it open, and opens it again with growing, jittered
 * pauses when it broke. While it is not open, or does not keep up, it takes no calls and they go another way. A call whose
 * stream breaks under it may have been carried out, and is told so; it is never sent twice from here.
 *
 * A line that is cut, one way or both, breaks nothing for a long time, and one that is slow never does. So while answers
 * are awaited the stream is pinged: without a prompt echo it takes no more calls until one comes, without any for long
 * it is given up where answers are awaited.
 */
import { Client, type ClientDuplexStream, Metadata, type MethodDefinition } from "@grpc/grpc-js";
import type { Context, ServiceBroker } from "moleculer";
import { definitionOf } from "../../proto/contract.ts";
import { clientCredentials } from "./credentials.ts";
import { type Frames, FrameWriter, IN_FLIGHT_MAX, type PeerAnswer, type PeerCall } from "./frames.ts";
import { fromJson, Payloads, readPayload, toJson } from "./payload.ts";
import { KEEPALIVE, MESSAGE_BYTES_MAX } from "./server.ts";
import { WINDOW_BYTES } from "./windows.ts";

export interface Address {
  host: string;
  port: number;
  token: string;
  /** Whether the node reads packed payloads. */
  packs: boolean;
}

/** The stream broke after the call was sent. */
export class StreamBroken extends Error {}
/** The node refused the call before it began. */
export class CallRefused extends Error {}

/** A node that restarts is back within seconds; one whose port cannot be reached is left alone most of the time. */
const PAUSE_MS_MIN = 100;
const PAUSE_MS_MAX = 10_000;
/** While answers are awaited, or the stream has yet to prove itself. */
const PING_EVERY_MS = 250;
/** An echo that is later than so many pings is not prompt: half a second, which a busy node keeps and a slow line does not. */
const PROMPT_PINGS = 2;
/**
 * So many in a row without any sign, and the line is cut: two seconds, which no healthy node's event loop is ever late, and
 * in time for another try before a client gives up. Counted, not timed: after a pause of our own nobody else is late.
 */
const SILENT_PINGS = 8;
/** For params and meta; the rest of a frame is small. */
const PAYLOAD_BYTES_MAX = MESSAGE_BYTES_MAX - 4_096;

interface Pending {
  ctx: Context;
  resolve(result: unknown): void;
  reject(err: unknown): void;
  onAbort: (() => void) | undefined;
}

const { Calls } = definitionOf("shop.v1.Peers") as Record<
  "Calls",
  MethodDefinition<Frames<PeerCall>, Frames<PeerAnswer>>
>;

export class PeerStream {
  readonly #broker: ServiceBroker;
  readonly #client: Client;
  readonly #metadata = new Metadata();
  readonly #pending = new Map<number, Pending>();
  readonly #packs: boolean;
  readonly #payloads = new Payloads();
  #stream: ClientDuplexStream<Frames<PeerCall>, Frames<PeerAnswer>> | undefined;
  #writer: FrameWriter<PeerCall> | undefined;
  /** An echo came promptly, and none has been late since. */
  #isProven = false;
  /** The ping that is under way, and how many would have followed it. */
  #ping: { seq: number; missed: number } | undefined;
  #pinger: NodeJS.Timeout | undefined;
  /** Nothing at all was heard for so many pings. */
  #silentPings = 0;
  #isClosed = false;
  #seq = 0;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(broker: ServiceBroker, { host, port, token, packs }: Address) {
    this.#broker = broker;
    this.#packs = packs;
    this.#client = new Client(
      host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`,
      clientCredentials(),
      {
        ...KEEPALIVE,
        "grpc-node.flow_control_window": WINDOW_BYTES,
        // Answers are as large as they are over NATS; calls are limited where they are received.
        "grpc.max_receive_message_length": -1,
        // Two brokers of one process must not share a connection, nor one with a channel of somebody else.
        "grpc.use_local_subchannel_pool": 1,
        "grpc.enable_retries": 0,
      },
    );
    this.#metadata.set("authorization", `Bearer ${token}`);
    this.#connect();
  }

  /** True where a call can be written now. */
  get isReady(): boolean {
    return this.#isProven && this.#writer?.isFull === false && this.#pending.size < IN_FLIGHT_MAX - 1;
  }

  /** True while the node owes an answer. */
  get isAwaited(): boolean {
    return this.#pending.size > 0;
  }

  /** Undefined where the call does not fit a frame. Rejects as StreamBroken, CallRefused, or what the action threw. */
  call(ctx: Context): Promise<unknown> | undefined {
    const { action, options } = ctx;
    const params = this.#packs
      ? this.#payloads.write(action?.name as string, ctx.params)
      : toJson(ctx.params);
    const meta = toJson(ctx.meta);
    if (params.length + meta.length > PAYLOAD_BYTES_MAX) return undefined;
    const seq = ++this.#seq;
    return new Promise((resolve, reject) => {
      const signal = ctx.locals.signal as AbortSignal | undefined;
      const onAbort = signal && (() => this.#writer?.write({ seq: ++this.#seq, cancel: seq }, 0));
      signal?.addEventListener("abort", onAbort as () => void, { once: true });
      this.#pending.set(seq, { ctx, resolve, reject, onAbort });
      const frame: PeerCall = {
        seq,
        call: {
          action: action?.name as string,
          params,
          meta,
          id: ctx.id,
          requestId: ctx.requestID as string,
          parentId: ctx.parentID ?? "",
          caller: ctx.caller ?? "",
          level: ctx.level,
          timeoutMs: Math.ceil(options.timeout ?? 0),
          nodeId: this.#broker.nodeID,
          tracing: ctx.tracing ?? false,
          headers: headersOf(ctx),
          packs: true,
        },
      };
      this.#writer?.write(frame, params.length + meta.length);
    });
  }

  /** Ends a call whose answer nobody waits for any more. The node has the same deadline, and need not be told. */
  giveUp(ctx: Context, err: Error): void {
    for (const [seq, call] of this.#pending) {
      if (call.ctx !== ctx) continue;
      this.#pending.delete(seq);
      forget(call);
      call.reject(err);
      return;
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    // Answers that are on their way may still come; the node that is gone sends none.
    this.#stream?.cancel();
    this.#client.close();
    this.#break();
  }

  #connect(): void {
    const stream = this.#client.makeBidiStreamRequest(
      Calls.path,
      Calls.requestSerialize,
      Calls.responseDeserialize,
      this.#metadata,
    );
    this.#stream = stream;
    this.#writer = new FrameWriter(stream);
    this.#seq = 0;
    // The other node sends it once it has accepted who we are.
    stream.on("metadata", () => {
      if (this.#stream !== stream) return;
      this.#watch();
      this.#pinger = setInterval(() => this.#watch(), PING_EVERY_MS).unref();
    });
    stream.on("data", ({ frames }: Frames<PeerAnswer>) => {
      if (this.#stream !== stream) return;
      this.#silentPings = 0;
      for (const answer of frames) this.#take(answer);
    });
    stream.on("end", () => stream.end());
    stream.on("error", () => undefined); // `status` tells the same
    stream.once("status", () => {
      if (this.#stream === stream) this.#break();
    });
  }

  /** One ping at a time: its echo tells how long the way there and back takes now. */
  #watch(): void {
    if (this.#ping) {
      if (++this.#ping.missed >= PROMPT_PINGS) this.#isProven = false;
      const [awaited] = this.#pending.values();
      if (++this.#silentPings < SILENT_PINGS || !awaited) return;
      this.#broker.logger.warn(`the stream to ${awaited.ctx.nodeID} is silent: given up`);
      this.#stream?.cancel();
      this.#break();
    } else if (this.isAwaited || !this.#isProven) {
      this.#ping = { seq: ++this.#seq, missed: 0 };
      this.#writer?.write({ seq: this.#ping.seq, ping: true }, 0);
    }
  }

  #break(): void {
    clearInterval(this.#pinger);
    this.#isProven = false;
    this.#ping = undefined;
    this.#silentPings = 0;
    this.#stream = undefined;
    this.#writer = undefined;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of pending) {
      forget(call);
      call.reject(new StreamBroken(`the stream to ${call.ctx.nodeID} broke`));
    }
    if (this.#isClosed) return;
    const pause = Math.min(PAUSE_MS_MIN * 2 ** this.#failures++, PAUSE_MS_MAX);
    this.#retry = setTimeout(() => this.#connect(), pause * (0.5 + Math.random() / 2)).unref();
  }

  #take({ seq, result, error, refused, echo, meta }: PeerAnswer): void {
    if (echo) {
      if (seq !== this.#ping?.seq) return;
      this.#isProven = this.#ping.missed < PROMPT_PINGS;
      if (this.#isProven) this.#failures = 0;
      this.#ping = undefined;
      return;
    }
    const call = this.#pending.get(seq);
    if (!call) return;
    this.#pending.delete(seq);
    forget(call);
    if (refused) {
      call.reject(new CallRefused(`${call.ctx.nodeID} refused the call`));
      return;
    }
    try {
      Object.assign(call.ctx.meta as object, fromJson(meta));
      if (error) {
        const { transit } = this.#broker as unknown as { transit: ErrorsFromPayload };
        call.reject(transit._createErrFromPayload(fromJson(error), { sender: call.ctx.nodeID }));
      } else call.resolve(readPayload(result));
    } catch (err) {
      // The call was carried out, and nobody can say with what result: that is for its caller, not for this process.
      call.reject(err);
    }
  }
}

function headersOf({ headers }: Context): Buffer | undefined {
  return headers && Object.keys(headers).length > 0 ? toJson(headers) : undefined;
}

function forget({ ctx, onAbort }: Pending): void {
  if (onAbort) (ctx.locals.signal as AbortSignal).removeEventListener("abort", onAbort);
}

/** What the framework's types leave out. */
interface ErrorsFromPayload {
  _createErrFromPayload(error: unknown, payload: { sender: string | null }): Error;
}
