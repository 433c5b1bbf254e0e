/**
 * A circuit breaker for each action of each node, on the caller's side: while it is open the balancer leaves that
 * endpoint out. In place of the framework's, which loses a node that returns under its old id, counts for ever, and
 * leaves a probe that was answered with a 4xx undecided. It opens at half of at least `minRequestCount` calls in a
 * window, or at `timeoutsMax` time-outs in a row, because a paused node answers nothing and must not be waited for
 * ten times. A failure is counted once, by the innermost breaker it passes. A request that another node has sent is
 * carried out whatever this node's own breakers say: that node has breakers too, and chose this one by them.
 */
import type { Context, Middleware, ServiceBroker } from "moleculer";
import { wasLate } from "./deadline.middleware.ts";
import type { Endpoint, EndpointList, Wrap } from "./middleware.ts";

/** The framework's names and meanings, and one of ours. `windowTime` in seconds, `halfOpenTime` in milliseconds. */
export interface BreakerOptions {
  enabled: boolean;
  threshold: number;
  minRequestCount: number;
  windowTime: number;
  halfOpenTime: number;
  timeoutsMax: number;
  check(err: unknown): boolean;
}

export interface BreakerView {
  nodeID: string;
  action: string;
  state: "closed" | "open" | "half-open";
  calls: number;
  failures: number;
}

declare module "moleculer" {
  interface ServiceBroker {
    /** Every breaker of this node that has seen a call; none where the middleware is not in use. */
    breakers?(): BreakerView[];
  }
}

/** What a callee answers while it is well: it refuses for want of room or time, or passes on what a provider said. */
const NOT_A_FAULT = new Set(["overloaded", "deadline_exceeded", "payment_unavailable"]);
/**
 * What is said of a call that was not sent, or under which the way to its node was lost: a node that is gone leaves the
 * registry, and one whose stream broke is well and has another way to be called.
 */
const NO_WORD = new Set(["REQUEST_SKIPPED", "REQUEST_REJECTED"]);

/** True for what speaks against the callee: a bug, a time-out, a 5xx. Not for a string code of PostgreSQL's, nor for a 4xx. */
export function isFault(err: unknown): boolean {
  const { code, type } = (err ?? {}) as { code?: unknown; type?: string };
  if (code === undefined || code === null) return true;
  return typeof code === "number" && code >= 500 && !NOT_A_FAULT.has(type ?? "") && !NO_WORD.has(type ?? "");
}

const isTimeout = (err: unknown): boolean => (err as { type?: string } | null)?.type === "REQUEST_TIMEOUT";

/**
 * True for what a third node made of a call that `callee` was sent: it says nothing about the callee. A time-out bears
 * the name of who tells of it, and in its data that of who was waited for.
 */
function isOfThird(err: unknown, callee: string | null, self: string): boolean {
  const { nodeID, type, data } = (err ?? {}) as {
    nodeID?: string;
    type?: string;
    data?: { nodeID?: string } | null;
  };
  if (nodeID !== undefined && nodeID !== callee) return true;
  const awaited = type === "REQUEST_TIMEOUT" ? data?.nodeID : undefined;
  return awaited !== undefined && awaited !== callee && awaited !== self;
}

/** Where the framework's transit looks a request's action up; it refuses where the endpoint is left out. */
interface RequestsFromOthers {
  _getLocalActionEndpoint(name: string, ctx?: Context): Endpoint;
}

const OPENED_TOTAL = "moleculer.circuit-breaker.opened.total";
const OPENED_ACTIVE = "moleculer.circuit-breaker.opened.active";

class Breaker {
  state: BreakerView["state"] = "closed";
  calls = 0;
  failures = 0;
  #timeoutsInARow = 0;
  #windowEndsAt = 0;
  #isProbing = false;
  #timer: NodeJS.Timeout | undefined;
  readonly endpoint: Endpoint;
  readonly #options: BreakerOptions;
  readonly #tell: (breaker: Breaker) => void;

  constructor(endpoint: Endpoint, options: BreakerOptions, tell: (breaker: Breaker) => void) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#tell = tell;
  }

  /** Before a call. Half open lets one through; the next waits for its answer, or for the same time again. */
  begin(): void {
    if (this.state !== "half-open" || this.#isProbing) return;
    this.#isProbing = true;
    this.endpoint.state = false;
    this.#after(this.#options.halfOpenTime, () => this.#halfOpen());
  }

  succeeded(): void {
    this.#count(0);
    this.#timeoutsInARow = 0;
    if (this.state === "half-open") this.#close();
  }

  failed(isTimeout: boolean): void {
    this.#count(1);
    this.#timeoutsInARow = isTimeout ? this.#timeoutsInARow + 1 : 0;
    const { minRequestCount, threshold, timeoutsMax } = this.#options;
    const isBad = this.calls >= minRequestCount && this.failures >= threshold * this.calls;
    if (this.state === "half-open" || isBad || this.#timeoutsInARow >= timeoutsMax) this.#open();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.endpoint.state = true;
  }

  #count(failures: 0 | 1): void {
    const now = performance.now();
    if (now > this.#windowEndsAt) {
      this.#windowEndsAt = now + this.#options.windowTime * 1_000;
      this.calls = 0;
      this.failures = 0;
    }
    this.calls++;
    this.failures += failures;
  }

  #open(): void {
    if (this.state === "open") return;
    this.#enter("open", false);
    this.#after(this.#options.halfOpenTime, () => this.#halfOpen());
  }

  #halfOpen(): void {
    this.#isProbing = false;
    this.#enter("half-open", true);
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#timeoutsInARow = 0;
    this.#windowEndsAt = 0;
    this.#enter("closed", true);
  }

  #enter(state: BreakerView["state"], isAvailable: boolean): void {
    this.endpoint.state = isAvailable;
    if (this.state === state) return;
    this.state = state;
    this.#tell(this);
  }

  #after(ms: number, work: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(work, ms).unref();
  }
}

export function breakerMiddleware(broker: ServiceBroker): Middleware {
  /** By the endpoint itself, not its name: a node that returns under its old id has new ones. */
  const breakers = new Map<Endpoint, Breaker>();
  /** Which request a failure was counted for: it passes the breakers of all who called, one after the other. */
  const counted = new WeakMap<object, unknown>();

  const tell = ({ endpoint, state, calls, failures }: Breaker): void => {
    const detail = { nodeID: endpoint.id, action: endpoint.action.name, calls, failures };
    if (state === "open") broker.logger.warn(`${endpoint.name} keeps failing: left out for now`, detail);
    else if (state === "closed") broker.logger.info(`${endpoint.name} answers again`, detail);
    const labels = { affectedNodeID: endpoint.id, action: endpoint.action.name };
    broker.metrics.set(OPENED_ACTIVE, state === "closed" ? 0 : 1, labels);
    if (state === "open") broker.metrics.increment(OPENED_TOTAL, labels);
    void broker.broadcastLocal(`$circuit-breaker.${EVENTS[state]}`, detail);
  };

  const endpointsOf = (name: string): EndpointList | undefined =>
    (
      broker.registry as unknown as { getActionEndpoints(name: string): EndpointList | undefined }
    ).getActionEndpoints(name);

  const isRegistered = (endpoint: Endpoint): boolean =>
    endpointsOf(endpoint.action.name)?.endpoints.includes(endpoint) ?? false;

  const forgetGone = (): void => {
    for (const [endpoint, breaker] of breakers) {
      if (isRegistered(endpoint)) continue;
      breaker.end();
      breakers.delete(endpoint);
    }
  };

  const wrapFor =
    (isRemote: boolean): Wrap =>
    (handler, action) => {
      const options = {
        timeoutsMax: Number.POSITIVE_INFINITY,
        ...broker.options.circuitBreaker,
        ...(action.circuitBreaker as Partial<BreakerOptions> | undefined),
      } as BreakerOptions;
      if (!options.enabled) return handler;
      /** Whether the failure speaks against the callee; undefined where it says nothing about it. */
      const speaksAgainst = (err: unknown, ctx: Context): boolean | undefined => {
        if (NO_WORD.has((err as { type?: string } | null)?.type ?? "") || wasLate(err)) return undefined;
        if (!action.answersInTime) return options.check(err);
        if (!isTimeout(err)) return false;
        // A client may say that it waits for less.
        return (ctx.options.timeout ?? 0) >= (action.timeout ?? 0) || undefined;
      };
      return (ctx) => {
        // A request from another node is counted there: it is that node's balancer that can do something about it.
        if (!isRemote && ctx.nodeID !== broker.nodeID) return handler(ctx);
        const endpoint = ctx.endpoint as unknown as Endpoint;
        let breaker = breakers.get(endpoint);
        if (!breaker) {
          breaker = new Breaker(endpoint, options, tell);
          breakers.set(endpoint, breaker);
        }
        const own = breaker;
        own.begin();
        return handler(ctx).then(
          (result) => {
            own.succeeded();
            return result;
          },
          (err) => {
            const isOwn = !isOfThird(err, ctx.nodeID, broker.nodeID);
            const isObject = typeof err === "object" && err !== null;
            const isNew = !isObject || counted.get(err) !== ctx.requestID;
            const speaks = speaksAgainst(err, ctx);
            if (speaks && isOwn && isNew) {
              if (isObject) counted.set(err, ctx.requestID);
              own.failed(isTimeout(err));
            } else if (speaks !== undefined) own.succeeded();
            throw err;
          },
        );
      };
    };

  return {
    name: "Breaker",
    created() {
      broker.breakers = () =>
        [...breakers.values()].map(({ endpoint, state, calls, failures }) => ({
          nodeID: endpoint.id,
          action: endpoint.action.name,
          state,
          calls,
          failures,
        }));
      const { localBus } = broker as unknown as { localBus: NodeJS.EventEmitter };
      for (const event of ["$services.changed", "$node.disconnected"]) localBus.on(event, forgetGone);
      const requests = broker as unknown as RequestsFromOthers;
      const stock = requests._getLocalActionEndpoint.bind(broker);
      requests._getLocalActionEndpoint = (name, ctx) =>
        endpointsOf(name)?.localEndpoints[0] ?? stock(name, ctx);
      if (!broker.isMetricsEnabled()) return;
      const labelNames = ["affectedNodeID", "action"];
      broker.metrics.register({
        name: OPENED_ACTIVE,
        type: "gauge",
        labelNames,
        description: "Open breakers",
      });
      broker.metrics.register({
        name: OPENED_TOTAL,
        type: "counter",
        labelNames,
        description: "Breakers opened",
      });
    },
    localAction: wrapFor(false),
    remoteAction: wrapFor(true),
    async stopped() {
      for (const breaker of breakers.values()) breaker.end();
      breakers.clear();
    },
  } as unknown as Middleware;
}

const EVENTS = { open: "opened", "half-open": "half-opened", closed: "closed" } as const;
