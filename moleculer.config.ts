/**
 * The broker's options, values from config/ only. Every option that matters is named here even where it equals the
 * framework's default, because several defaults are wrong for a shop (no time-out, no tracking, an open schema) and
 * the others must not change under us. scripts/shop.ts builds the broker from this; the framework's own overrides
 * from the environment do not apply.
 */
import type { BrokerOptions, Middleware, ServiceBroker } from "moleculer";
import { config } from "./config/index.ts";
import { breakerMiddleware, isFault } from "./mixins/breaker.middleware.ts";
import { bulkheadMiddleware } from "./mixins/bulkhead.middleware.ts";
import { callMeasuresMiddleware } from "./mixins/call.measures.ts";
import { deadlineMiddleware } from "./mixins/deadline.middleware.ts";
import { LazyValidator } from "./mixins/lazy.validator.ts";
import { LeastRequestsStrategy, leastRequestsMiddleware } from "./mixins/least.requests.strategy.ts";
import { NATS_TRANSPORTER } from "./mixins/nats.transporter.ts";
import { nodeServerMiddleware } from "./mixins/node.server.ts";
import { OTLP_EXPORTER } from "./mixins/otlp.exporter.ts";
import { keyWithCaller, RedisCacher } from "./mixins/redis.cacher.ts";
import { RendezvousStrategy } from "./mixins/rendezvous.strategy.ts";
import { retryMiddleware } from "./mixins/retry.middleware.ts";
import { tagsOf, tracesMiddleware } from "./mixins/traces.ts";

/**
 * Innermost first. Against the framework's own order: the cache stands inside hooks and validation, so a hit is
 * authorised and its key made of validated params; the breaker stands outside the time limit, so it counts time-outs.
 * Where one is ours, its file says what is wrong with the framework's.
 */
const MIDDLEWARES: (string | Middleware)[] = [
  "Cacher",
  "ActionHook",
  "Validator",
  bulkheadMiddleware as unknown as Middleware,
  "ContextTracker",
  deadlineMiddleware as unknown as Middleware,
  breakerMiddleware as unknown as Middleware,
  ...(config.balancer === "least-requests" ? [leastRequestsMiddleware as unknown as Middleware] : []),
  "ErrorHandler",
  "Tracing",
  "Metrics",
  ((broker: ServiceBroker) => retryMiddleware(broker)) as unknown as Middleware,
];

const STRATEGIES = {
  "least-requests": LeastRequestsStrategy,
  "round-robin": "RoundRobin",
  latency: "Latency",
  rendezvous: RendezvousStrategy,
} as const;

/** What a cache may be wrong by, where an invalidation is lost on its way. */
const CACHE_SECONDS = 30;

function cacherOf(cacher: string | undefined): BrokerOptions["cacher"] {
  if (cacher === undefined) return null;
  if (cacher !== "memory") return new RedisCacher(cacher, CACHE_SECONDS) as never;
  return { type: "MemoryLRU", options: { max: 1_000, ttl: CACHE_SECONDS, keygen: keyWithCaller } } as never;
}

/** For those who look after this node; who does not ask for it pays nothing for it. */
const WATCHED = [
  callMeasuresMiddleware,
  nodeServerMiddleware({ port: config.metricsPort ?? 0, expected: config.expectedServices }),
] as unknown as Middleware[];

const TRACED = [tracesMiddleware] as unknown as Middleware[];

/** Pino formats a first string with what follows and drops the rest; Moleculer logs (message, error | detail). */
export function logMethod(this: unknown, args: unknown[], method: (...args: unknown[]) => void): void {
  const [message, ...rest] = args;
  if (typeof message !== "string" || rest.length === 0) {
    method.apply(this, args);
    return;
  }
  const detail: Record<string, unknown> = {};
  rest.forEach((part, index) => {
    if (part instanceof Error) detail.err = part;
    else if (typeof part === "object" && part !== null && !Array.isArray(part)) Object.assign(detail, part);
    else detail[`detail${index || ""}`] = part;
  });
  method.call(this, detail, message);
}

const options: BrokerOptions = {
  namespace: config.namespace,
  nodeID: config.nodeId,

  // People read a terminal, programs read everything else.
  logger: (config.logger ? config.logger === "console" : process.stdout.isTTY)
    ? { type: "Console", options: { formatter: "short", colors: process.stdout.isTTY } }
    : {
        type: "Pino",
        // Pino's own way to a terminal throws where that has been closed.
        options: {
          pino: {
            options: { base: null, hooks: { logMethod } },
            destination: process.stdout.isTTY ? process.stdout : undefined,
          },
        },
      },
  logLevel: config.logLevel,

  transporter: config.transporter ? { type: NATS_TRANSPORTER, options: { url: config.transporter } } : null,
  cacher: cacherOf(config.cacher),
  serializer: "JSON",
  heartbeatInterval: 3,
  // The check runs once per time-out, so a dead node is noticed within twice this.
  heartbeatTimeout: 9,

  // Above the checkout's own deadline of 5 s, which answers 202; this one ends what has no deadline.
  requestTimeout: 10_000,
  // The framework's is not in use: it multiplies per hop. Ours has no options (mixins/retry.middleware.ts).
  retryPolicy: { enabled: false },
  circuitBreaker: {
    enabled: true,
    threshold: 0.5,
    minRequestCount: 10,
    windowTime: 30,
    // A service that is back is used again soon; one call is what it costs to find out.
    halfOpenTime: 2_000,
    timeoutsMax: 3,
    check: isFault,
  } as BrokerOptions["circuitBreaker"],
  // Only where an action asks for it. The mailboxes are the limit on the checkout path.
  bulkhead: { enabled: false, concurrency: 10, maxQueueSize: 100 },
  maxCallLevel: 20,
  // Cloning breaks moleculer-web, whose params hold the request and the response.
  contextParamsCloning: false,

  // Stopping waits this long for calls in flight; Kubernetes' and Docker's grace must be longer.
  tracking: { enabled: true, shutdownTimeout: 15_000 },
  registry: {
    strategy: STRATEGIES[config.balancer],
    // It goes before any strategy, so the one that knows keys prefers this node by itself.
    preferLocal: config.balancer !== "rendezvous",
    stopDelay: 100,
    discoverer: "Local",
  } as BrokerOptions["registry"],
  // A started service is seen by other nodes after this, by default only after a second.
  transit: { serviceChangedDebounceTime: 100 } as BrokerOptions["transit"],

  // Unknown fields are refused at every depth: what is not declared is a mistake or an attack.
  validator: new LazyValidator({
    useNewCustomCheckerFunction: true,
    defaults: { object: { strict: true } },
  }),

  internalMiddlewares: false,
  middlewares: [
    ...MIDDLEWARES,
    ...(config.metricsPort === undefined ? [] : WATCHED),
    ...(config.otlpEndpoint === undefined ? [] : TRACED),
  ],
  // Ours instead: mixins/measures.ts, call.measures.ts.
  metrics: false,
  tracing: config.otlpEndpoint !== undefined && {
    enabled: true,
    exporter: {
      type: OTLP_EXPORTER,
      options: { endpoint: config.otlpEndpoint, namespace: config.namespace } as object,
    },
    sampling: { rate: config.tracesRatio },
    // The framework would send all params along.
    tags: { action: tagsOf as never },
  },
  hotReload: false,
  // scripts/start.ts handles signals: the database outlives the broker.
  skipProcessEventRegistration: true,
};

export default options;
