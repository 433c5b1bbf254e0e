/**
 * Sends spans to an OpenTelemetry collector as OTLP over HTTP, JSON encoded. It never slows a call and never fails one:
 * spans wait in a bounded list, and what a collector does not take, or takes too late, is dropped and said in the log.
 * Neither params nor messages of errors leave the node: both may hold what is private.
 */
import { type ServiceBroker, type Span, TracerExporters } from "moleculer";
import { stopStep } from "../lib/stop.ts";
import { toSpanId, toTraceId } from "../lib/traceparent.ts";

/** For the broker's options: each broker makes an instance of its own. (The type knows the stock names only.) */
export const OTLP_EXPORTER = "ShopOtlp" as "Console";

const FLUSH_EVERY_MS = 1_000;
const BATCH_MAX = 512;
/** Two seconds of a busy node; a collector that is away for longer costs its own traces, not our memory. */
const WAITING_MAX = 8_192;
const SEND_MS_MAX = 5_000;

interface Options {
  /** As in OTEL_EXPORTER_OTLP_ENDPOINT: without /v1/traces. */
  endpoint: string;
  /** Names the shop among others that send to the same collector. */
  namespace: string;
}

export class OtlpExporter extends TracerExporters.Base {
  readonly #options: Options;
  #waiting: Span[] = [];
  #dropped = 0;
  #sending: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  declare broker: ServiceBroker;

  constructor(options: Options) {
    super(options as never);
    this.#options = options;
  }

  override init(tracer: never): void {
    super.init(tracer);
    this.#timer = setInterval(() => void this.flush(), FLUSH_EVERY_MS).unref();
  }

  override async stop(): Promise<void> {
    clearInterval(this.#timer);
    await stopStep("traces", this.broker.logger, this.flush());
  }

  override spanFinished(span: Span): void {
    if (this.#waiting.length >= WAITING_MAX) this.#dropped++;
    else this.#waiting.push(span);
    if (this.#waiting.length === BATCH_MAX) void this.flush();
  }

  /** Sends what waits, after what is being sent. */
  flush(): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      while (this.#waiting.length > 0) await this.#send(this.#waiting.splice(0, BATCH_MAX));
    });
    return this.#sending;
  }

  async #send(spans: Span[]): Promise<void> {
    try {
      const answer = await fetch(`${this.#options.endpoint.replace(/\/$/, "")}/v1/traces`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(this.#request(spans)),
        signal: AbortSignal.timeout(SEND_MS_MAX),
      });
      await answer.arrayBuffer();
      if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
      if (this.#dropped > 0)
        this.logger.warn(`${this.#dropped} spans were dropped while the collector was away`);
      this.#dropped = 0;
    } catch (err) {
      if (this.#dropped === 0)
        this.logger.warn(
          `${this.#options.endpoint} does not take spans, they are dropped: ${(err as Error).message}`,
        );
      this.#dropped += spans.length;
    }
  }

  #request(spans: readonly Span[]): object {
    const byService = Map.groupBy(spans, (span) => span.service?.name ?? "broker");
    return {
      resourceSpans: [...byService].map(([service, ofService]) => ({
        resource: {
          attributes: attributesOf({
            "service.name": service,
            "service.namespace": this.#options.namespace,
            "service.instance.id": this.broker.nodeID,
          }),
        },
        scopeSpans: [{ scope: { name: "concord" }, spans: ofService.map(toOtlp) }],
      })),
    };
  }
}

TracerExporters.register(OTLP_EXPORTER, OtlpExporter as never);

const KIND = { internal: 1, server: 2, client: 3 } as const;
const STATUS = { unset: 0, error: 2 } as const;

function toOtlp(span: Span): object {
  const { kind = "internal", ...attributes } = span.tags as { kind?: keyof typeof KIND };
  const { type, code } = (span.error ?? {}) as { type?: string; code?: unknown };
  return {
    traceId: toTraceId(span.traceID as string),
    spanId: toSpanId(span.id),
    ...(span.parentID ? { parentSpanId: toSpanId(span.parentID) } : {}),
    // Moleculer's own are named "action 'order.place'".
    name: span.name.replace(/^action '(.+)'$/, "$1"),
    kind: KIND[kind],
    startTimeUnixNano: nanoseconds(span.startTime as number),
    endTimeUnixNano: nanoseconds(span.finishTime as number),
    attributes: attributesOf(attributes),
    status: span.error
      ? { code: STATUS.error, message: String(type ?? code ?? "error") }
      : { code: STATUS.unset },
  };
}

/** As text: the number would not fit. The clock has microseconds at most. */
const nanoseconds = (ms: number): string => `${Math.round(ms * 1_000)}000`;

const attributesOf = (values: Readonly<Record<string, unknown>>): object[] =>
  Object.entries(values)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]) => ({
      key,
      value: typeof value === "number" ? { doubleValue: value } : { stringValue: String(value) },
    }));
