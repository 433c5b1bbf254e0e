/**
 * The time a call may take, and what is left of it. In place of the framework's Timeout, which lets the caller go and
 * tells nobody: here work that waits can see that nobody waits for it any more (`remainingMs`), and work that runs can
 * be told (`signalOf`). Time travels as a budget, never as a clock reading; nested calls get what is left.
 *
 * A call to another node that is given up also ends for whatever carries it. The framework forgets such a call without
 * settling it, and its tracker would hold the context for ever: memory that is never freed, and stops that wait in vain.
 */
import { type Context, Errors, type Middleware, type ServiceBroker } from "moleculer";
import type { Call, Wrap } from "./middleware.ts";

type Timed = Context & { startHrTime: [number, number] | null };

/** A timer that fires this much too late, in milliseconds, is that of a node which was asleep or too busy itself. */
const LATE_MS = 250;
const late = new WeakSet<Error>();

/** True for a time-out of a caller that did not look in time: the answer may have been waiting for it. */
export const wasLate = (err: unknown): boolean => late.has(err as Error);

/** Made only for calls whose handler asks for a signal: most never do, and the checkout never pays for one. */
const controllers = new WeakMap<Context, AbortController>();

/**
 * Milliseconds until the caller gives up; infinite where it never does. Less than one is none: timers count in whole
 * milliseconds, and the caller's may have fired already.
 */
export function remainingMs(ctx: Context): number {
  const timeoutMs = ctx.options.timeout ?? 0;
  if (!(ctx as Timed).startHrTime || timeoutMs <= 0) return Number.POSITIVE_INFINITY;
  const leftMs = timeoutMs - passedMs(ctx as Timed);
  return leftMs < 1 ? 0 : leftMs;
}

function passedMs({ startHrTime }: Timed): number {
  const [seconds, nanoseconds] = process.hrtime(startHrTime ?? undefined);
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** Aborts when the caller gives up, with the error that the caller gets. */
export function signalOf(ctx: Context): AbortSignal {
  let controller = controllers.get(ctx);
  if (!controller) {
    controller = new AbortController();
    controllers.set(ctx, controller);
    if (remainingMs(ctx) <= 0) controller.abort();
  }
  return controller.signal;
}

/** On the broker's local bus, with the context and the error: whatever carries the call rejects it, and forgets it. */
export const GIVEN_UP = "$call.givenUp";

interface PendingRequests {
  pendingRequests: Map<string, { ctx: Context; reject(err: Error): void }>;
}

const TIMEOUTS = "moleculer.request.timeout.total";

export function deadlineMiddleware(broker: ServiceBroker): Middleware {
  const wrap: Wrap = (handler, action) => {
    const fallbackMs = action.timeout ?? broker.options.requestTimeout ?? 0;
    return ((ctx: Timed) => {
      ctx.options.timeout ??= fallbackMs;
      const timeoutMs = ctx.options.timeout;
      if (timeoutMs <= 0) return handler(ctx);
      // Nested calls subtract what has passed since.
      ctx.startHrTime ??= process.hrtime();
      const work = handler(ctx);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          const err = new Errors.RequestTimeoutError({
            action: action.name as string,
            nodeID: ctx.nodeID ?? "",
          });
          if (passedMs(ctx) - timeoutMs > LATE_MS) late.add(err);
          controllers.get(ctx)?.abort(err);
          broker.logger.warn(`${action.name} at ${ctx.nodeID} took more than ${Math.round(timeoutMs)} ms`, {
            requestID: ctx.requestID,
          });
          broker.metrics.increment(TIMEOUTS, { service: action.service?.fullName, action: action.name });
          reject(err);
          if (ctx.nodeID !== broker.nodeID) broker.localBus.emit(GIVEN_UP, ctx, err);
        }, timeoutMs);
        work.then(
          (result) => {
            clearTimeout(timer);
            resolve(result);
          },
          (err) => {
            clearTimeout(timer);
            reject(err);
          },
        );
      });
    }) as Call;
  };
  return {
    name: "Deadline",
    created() {
      broker.localBus.on(GIVEN_UP, (ctx: Context, err: Error) => {
        const { pendingRequests } = (broker.transit ?? {}) as unknown as Partial<PendingRequests>;
        const pending = pendingRequests?.get(ctx.id);
        if (pending?.ctx !== ctx) return;
        pendingRequests?.delete(ctx.id);
        pending.reject(err);
      });
      if (broker.isMetricsEnabled())
        broker.metrics.register({
          name: TIMEOUTS,
          type: "counter",
          labelNames: ["service", "action"],
          description: "Number of timed out requests",
          rate: true,
        });
    },
    localAction: wrap,
    remoteAction: wrap,
  } as Middleware;
}
