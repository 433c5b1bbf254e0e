/**
 * The answering end of the streams between our own nodes: carries out the calls of other nodes, each by a frame, and
 * answers in whatever order they end. A node that cannot keep up stops reading, which HTTP/2 makes the caller feel. A
 * call that is refused here was not begun, and the answer says so.
 */
import { Metadata, type ServerDuplexStream, status } from "@grpc/grpc-js";
import type { Context, ServiceBroker, Transit } from "moleculer";
import { bearerTokenOf } from "../../lib/headers.ts";
import { isSameSecret } from "./credentials.ts";
import { type Frames, FrameWriter, IN_FLIGHT_MAX, type PeerAnswer, type PeerCall } from "./frames.ts";
import { fromJson, Payloads, readPayload, toJson } from "./payload.ts";

type Stream = ServerDuplexStream<Frames<PeerCall>, Frames<PeerAnswer>>;
type Call = NonNullable<PeerCall["call"]>;

export class PeerServer {
  readonly #broker: ServiceBroker;
  readonly #token: string;
  readonly #streams = new Set<PeerCalls>();
  #isOpen = false;

  constructor(broker: ServiceBroker, token: string) {
    this.#broker = broker;
    this.#token = token;
  }

  open(): void {
    this.#isOpen = true;
  }

  accept(stream: Stream): void {
    if (!isSameSecret(bearerTokenOf(stream.metadata.get("authorization")[0]), this.#token)) {
      refuse(stream, status.UNAUTHENTICATED, "only for the shop's own nodes");
      return;
    }
    if (!this.#isOpen || !this.#broker.transit) {
      refuse(stream, status.UNAVAILABLE, "not open");
      return;
    }
    const calls = new PeerCalls(this.#broker, stream, () => this.#isOpen);
    this.#streams.add(calls);
    stream.once("close", () => this.#streams.delete(calls));
  }

  /** Begins nothing more; resolves when what was begun is answered. */
  async drain(): Promise<void> {
    this.#isOpen = false;
    await Promise.all([...this.#streams].map((calls) => calls.end()));
  }
}

function refuse(stream: Stream, code: status, details: string): void {
  stream.emit("error", { code, details });
}

class PeerCalls {
  readonly #broker: ServiceBroker;
  readonly #stream: Stream;
  readonly #isOpen: () => boolean;
  readonly #writer: FrameWriter<PeerAnswer>;
  readonly #running = new Map<number, AbortController>();
  readonly #payloads = new Payloads();
  #seq = 0;
  #onIdle: (() => void) | undefined;

  constructor(broker: ServiceBroker, stream: Stream, isOpen: () => boolean) {
    this.#broker = broker;
    this.#stream = stream;
    this.#isOpen = isOpen;
    this.#writer = new FrameWriter(stream, () => this.#resume());
    stream.on("data", ({ frames }: Frames<PeerCall>) => {
      for (const frame of frames) if (!this.#take(frame)) break;
    });
    stream.on("end", () => stream.end());
    // Whoever called is gone, and with it everybody who waited for an answer.
    stream.on("cancelled", () => this.#abandon());
    stream.on("error", () => this.#abandon());
    stream.sendMetadata(new Metadata());
  }

  async end(): Promise<void> {
    if (this.#running.size > 0)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    this.#writer.flush();
    this.#stream.end();
  }

  #abandon(): void {
    for (const controller of this.#running.values()) controller.abort();
  }

  /** False where a frame is missing: what the others mean is then unknown, and the stream ends. */
  #take({ seq, call, cancel, ping }: PeerCall): boolean {
    if (seq !== ++this.#seq) {
      refuse(this.#stream, status.DATA_LOSS, `frame ${seq} came where ${this.#seq} was due`);
      return false;
    }
    if (cancel) this.#running.get(cancel)?.abort();
    if (ping) this.#answer({ seq, echo: true });
    if (call) void this.#run(seq, call);
    return true;
  }

  async #run(seq: number, call: Call): Promise<void> {
    let ctx: Context | undefined;
    try {
      ctx = this.#contextOf(call);
    } catch (err) {
      // Not begun either, so another way is open to it, where the same fault is told to whoever called.
      this.#broker.logger.warn(`a call of ${call.action} by ${call.nodeId} could not be taken up`, err);
    }
    if (!ctx) {
      this.#answer({ seq, refused: true });
      return;
    }
    const controller = new AbortController();
    ctx.locals.signal = controller.signal;
    this.#running.set(seq, controller);
    if (this.#running.size >= IN_FLIGHT_MAX) this.#stream.pause();
    let answer: PeerAnswer;
    try {
      const result = await (ctx.action as unknown as { handler(ctx: Context): Promise<unknown> }).handler(
        ctx,
      );
      answer = {
        seq,
        result: call.packs ? this.#payloads.write(call.action, result) : toJson(result),
        meta: toJson(ctx.meta),
      };
    } catch (err) {
      answer = this.#failure(seq, err, ctx);
    }
    this.#running.delete(seq);
    this.#answer(answer);
    if (this.#running.size === 0) this.#onIdle?.();
  }

  /** What no JSON can say is left out: the caller hears of the failure all the same, and this node goes on. */
  #failure(seq: number, err: unknown, { action, meta }: Context): PeerAnswer {
    const { transit } = this.#broker as unknown as { transit: PayloadErrors };
    const fields = transit._createPayloadErrorField(err, {});
    try {
      return { seq, error: toJson(fields), meta: toJson(meta) };
    } catch (fault) {
      this.#broker.logger.error(`the answer of ${action?.name} cannot be carried whole`, fault);
      return { seq, error: toJson({ ...fields, data: undefined }) };
    }
  }

  #answer(answer: PeerAnswer): void {
    if (this.#stream.destroyed || this.#stream.cancelled || this.#stream.writableEnded) return;
    this.#writer.write(answer, (answer.result ?? answer.error)?.length ?? 0);
    // A caller that does not read its answers is not read any more either.
    if (this.#writer.isFull) this.#stream.pause();
  }

  #resume(): void {
    if (this.#running.size < IN_FLIGHT_MAX / 2 && !this.#writer.isFull) this.#stream.resume();
  }

  /** As the framework's transit makes it of a request; undefined where this node cannot take the call up. */
  #contextOf(call: Call): Context | undefined {
    const broker = this.#broker as unknown as LocalEndpoints & ServiceBroker;
    if (!this.#isOpen() || broker.stopping) return undefined;
    if (!broker.registry.getActionEndpoints(call.action)?.hasLocal()) return undefined;
    const ctx = new broker.ContextFactory(broker);
    ctx.setEndpoint(broker._getLocalActionEndpoint(call.action));
    ctx.setParams(readPayload(call.params) as object, false);
    Object.assign(ctx, {
      id: call.id,
      requestID: call.requestId,
      parentID: call.parentId || null,
      caller: call.caller || null,
      level: call.level,
      tracing: call.tracing,
      meta: fromJson(call.meta),
      headers: fromJson(call.headers) ?? {},
      nodeID: call.nodeId,
    });
    if (call.timeoutMs) ctx.options.timeout = call.timeoutMs;
    return ctx;
  }
}

/** What the framework's types leave out. */
interface PayloadErrors extends Transit {
  _createPayloadErrorField(err: unknown, payload: object): object;
}
interface LocalEndpoints {
  stopping: boolean;
  _getLocalActionEndpoint(action: string): never;
}
