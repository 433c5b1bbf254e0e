/**
 * Traces through batches. A batch carries messages of many traces, so it has none of its own: it takes a traceparent
 * along for each of its messages, by the message's id, and each side makes one span per message below it. So one
 * order's trace is one tree, whoever it travelled with. A broker has traces only where OTEL_EXPORTER_OTLP_ENDPOINT is
 * set; everywhere else whoever asks gets undefined and does what it always did.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { IncomingMessage, ServerResponse } from "node:http";
import { LRUCache } from "lru-cache";
import type { Context, Middleware, ServiceBroker, Span } from "moleculer";
import { formatTraceparent, parseTraceparent, type TraceContext } from "../lib/traceparent.ts";

type Call = (ctx: Context) => Promise<unknown>;

/** Longer than a message is under way in a healthy shop; after it, what is left of a trace begins a new one. */
const KEPT_MS = 60_000;
const KEPT_MAX = 20_000;
/** The option that keeps a batch, and what it calls, out of the traces. */
export const UNTRACED = { parentSpan: { id: "", traceID: "untraced", sampled: false } };

const tracesByBroker = new WeakMap<ServiceBroker, Traces>();

/** Undefined where nothing is traced. */
export const tracesOf = (broker: ServiceBroker): Traces | undefined => tracesByBroker.get(broker);

export class Traces {
  readonly #broker: ServiceBroker;
  /** By who works on it (a manager and a participant may share a node) and the id of what it is: a transaction, an event. */
  readonly #contexts = new LRUCache<string, TraceContext>({ max: KEPT_MAX, ttl: KEPT_MS });
  readonly #current = new AsyncLocalStorage<TraceContext>();

  constructor(broker: ServiceBroker) {
    this.#broker = broker;
  }

  /** What `work` begins belongs to the trace of `ctx`. */
  during<Result>(ctx: Context, work: () => Result): Result {
    const { span } = ctx as { span?: Span | null };
    if (!span?.sampled) return work();
    return this.#current.run({ traceID: span.traceID as string, id: span.id, sampled: true }, work);
  }

  /** `id` begins here and now. Returns it. */
  begin(service: string, id: string): string {
    const context = this.#current.getStore();
    if (context) this.#contexts.set(keyOf(service, id), context);
    return id;
  }

  /** Of those that are traced, as JSON by id, for a row; null where none is. */
  traceparentsOf(service: string, ids: readonly string[]): string | null {
    const traceparents = ids.flatMap((id) => {
      const context = this.#contexts.get(keyOf(service, id));
      return context ? [[id, formatTraceparent(context)]] : [];
    });
    return traceparents.length > 0 ? JSON.stringify(Object.fromEntries(traceparents)) : null;
  }

  /** Goes on with what a row remembers. */
  resume(service: string, id: string, traceparent: string | null): void {
    const context = parseTraceparent(traceparent);
    if (context?.sampled) this.#contexts.set(keyOf(service, id), context);
  }

  /**
   * Runs the work on a batch with one span for each of `ids` that is traced. `send` gets the options that a call must
   * have for its other side to go on below these spans.
   */
  async batch<Result>(
    name: string,
    service: string,
    ids: readonly string[],
    send: (options: object) => Promise<Result>,
  ): Promise<Result> {
    const spans = ids.flatMap((id) => {
      const context = this.#contexts.get(keyOf(service, id));
      return context ? [this.#start(id, name, service, context, "client", ids.length)] : [];
    });
    const traces = Object.fromEntries(spans.map(([id, span]) => [id, formatTraceparent(contextOf(span))]));
    return finishing(spans, () => send({ ...UNTRACED, headers: { traces } }));
  }

  /** The other side of `batch`: a span per message, below which whatever is done for it hangs. */
  receive(ctx: Context, handler: Call): Promise<unknown> {
    const { traces } = ctx.headers as { traces?: Record<string, string> };
    if (!traces) return handler(ctx);
    const entries = Object.entries(traces);
    const spans = entries.flatMap(([id, traceparent]) => {
      const context = parseTraceparent(traceparent);
      if (!context?.sampled) return [];
      const { name } = ctx.action as { name: string };
      const service = ctx.service?.name ?? name;
      const [, span] = this.#start(id, name, service, context, "server", entries.length);
      this.#contexts.set(keyOf(service, id), contextOf(span));
      return [[id, span] as const];
    });
    return finishing(spans, () => handler(ctx));
  }

  #start(
    id: string,
    name: string,
    service: string,
    context: TraceContext,
    kind: "client" | "server",
    size: number,
  ): readonly [string, Span] {
    const span = this.#broker.tracer.startSpan(name, {
      traceID: context.traceID,
      parentID: context.id,
      sampled: true,
      service: { name: service, fullName: service } as never,
      tags: { kind, "shop.message.id": id, "messaging.batch.message_count": size },
    });
    return [id, span];
  }
}

const keyOf = (service: string, id: string): string => `${service} ${id}`;

const contextOf = (span: Span): TraceContext => ({
  traceID: span.traceID as string,
  id: span.id,
  sampled: true,
});

async function finishing<Result>(
  spans: readonly (readonly [string, Span])[],
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (err) {
    for (const [, span] of spans) span.setError(err as Error);
    throw err;
  } finally {
    for (const [, span] of spans) span.finish();
  }
}

/** Where the call is in its trace, for a row; null where it is in none. */
export function traceparentOf(ctx: Context): string | null {
  const { span } = ctx as { span?: Span | null };
  return span?.sampled ? formatTraceparent(contextOf(span)) : null;
}

/** Installed only where spans are exported. */
export function tracesMiddleware(broker: ServiceBroker): Middleware {
  const traces = new Traces(broker);
  tracesByBroker.set(broker, traces);
  return {
    name: "Traces",
    localAction: (handler: Call) => (ctx: Context) => traces.receive(ctx, handler),
  } as unknown as Middleware;
}

/** What a span says of a call. */
export function tagsOf(ctx: Context): Record<string, unknown> {
  const isRemote = ctx.nodeID !== ctx.broker.nodeID;
  return { kind: isRemote ? "server" : "internal", "shop.caller": ctx.caller };
}

/** What a span says of a request: what an access log would, without the query. Asked before and after the answer. */
export function requestTagsOf(ctx: Context): Record<string, unknown> {
  const { req, res } = ctx.params as { req: IncomingMessage; res: ServerResponse };
  return {
    kind: "server",
    "http.request.method": req.method,
    "url.path": req.url?.split("?")[0],
    ...(res.headersSent ? { "http.response.status_code": res.statusCode } : {}),
  };
}
