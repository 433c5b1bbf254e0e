/**
 * Repeats calls, at one layer only. An action declared `idempotent` is repeated by the first caller that meets it, and
 * nothing that it calls is repeated again, on whatever node; what was provably not begun is sent again for any action
 * but those with `retry: false`, whose callers repeat by themselves or not at all. Exponential back-off with full
 * jitter, never past the caller's deadline, and at most a tenth of an action's calls beyond a small reserve.
 *
 * It wraps broker.call and not the handler, because the framework throws "not found" before any handler is wrapped.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { CallingOptions, Middleware, ServiceBroker } from "moleculer";
import type { EndpointList, Sent, WrappedAction } from "./middleware.ts";

/** Each try but the last may take this share of the time, so that a node that answers nothing leaves time for another. */
const TRY_SHARE = 1 / 3;
const TRIES_MAX = 3;
const BACK_OFF_MS = 50;
const BACK_OFF_MS_MAX = 1_000;
/** How long a call waits for a service that nobody hosts right now: one that is restarted alone is back by then, often. */
const ABSENT_MS_MAX = 1_000;
/** Repeats per call. */
const BUDGET_SHARE = 0.1;
/** Repeats that a quiet action has in reserve. */
const BUDGET_RESERVE = 10;

/** Set on calls that some caller above repeats. A header reaches the next hop only, so it is passed on by hand. */
export const REPEATED_ABOVE = "$repeatedAbove";

/** A tenth of a token comes in with each call, a repeat takes a whole one. */
export class RepeatBudget {
  #tokens = BUDGET_RESERVE;

  deposit(): void {
    if (this.#tokens < BUDGET_RESERVE) this.#tokens += BUDGET_SHARE;
  }

  take(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

interface Policy {
  retry: boolean;
  idempotent: boolean;
  timeoutMs: number;
  budget: RepeatBudget;
  /** Since when nobody hosts it; after ABSENT_MS_MAX nobody waits any more, until somebody does. */
  absentSince: number | undefined;
}

type Options = CallingOptions & { ctx?: unknown };
type BrokerCall = (action: string, params: unknown, opts?: Options) => Sent;
interface AnyError {
  type?: string;
  code?: unknown;
  retryable?: boolean;
  data?: { action?: string; nodeID?: string } | null;
}

/** Refusals for want of room or time are not answered with more of the same. */
const NOT_REPEATED = new Set(["overloaded", "deadline_exceeded", "payment_unavailable"]);
const ABSENT = /^SERVICE_NOT_(FOUND|AVAILABLE)$/;

/** True where the same call may well succeed a moment later, or at another node. */
export function isPassing(err: unknown): boolean {
  const { type = "", code, retryable } = (err ?? {}) as AnyError;
  if (ABSENT.test(type)) return true;
  return retryable === true && typeof code === "number" && code >= 500 && !NOT_REPEATED.has(type);
}

/** True where the action itself was not found, here or where it was sent: then nothing of it has run. */
const wasNotBegun = (err: unknown, action: string): boolean => {
  const { type = "", data } = (err ?? {}) as AnyError;
  return ABSENT.test(type) && data?.action === action;
};

/** Says of a call whose node has gone that it may have taken effect, which the framework calls retryable. */
function outcomeUnknown(sent: Sent, action: string): Sent {
  const told: Sent = sent.catch((err: AnyError) => {
    if (err?.type === "REQUEST_REJECTED" && err.data?.action === action) err.retryable = false;
    throw err;
  });
  told.ctx = sent.ctx as never;
  return told;
}

export function retryMiddleware(broker: ServiceBroker, random: () => number = Math.random): Middleware {
  const policies = new Map<string, Policy>();
  const listOf = (action: string): EndpointList | undefined =>
    (
      broker.registry as unknown as { getActionEndpoints(name: string): EndpointList | undefined }
    ).getActionEndpoints(action);

  /** Remembered after its last node has left: that is when it is needed. Undefined for what was never seen. */
  const policyOf = (action: string): Policy | undefined => {
    let policy = policies.get(action);
    if (policy) return policy;
    const schema = listOf(action)?.getFirst()?.action;
    if (!schema) return undefined;
    policy = { ...declared(schema), budget: new RepeatBudget(), absentSince: undefined };
    policies.set(action, policy);
    return policy;
  };
  const declared = (schema: WrappedAction): Omit<Policy, "budget" | "absentSince"> => ({
    retry: schema.retry !== false,
    idempotent: schema.idempotent === true,
    timeoutMs: schema.timeout ?? broker.options.requestTimeout ?? 0,
  });

  const backOffMs = (tries: number): number =>
    random() * Math.min(BACK_OFF_MS * 2 ** (tries - 1), BACK_OFF_MS_MAX);

  /** Follows a first try to its end, with the repeats it may have. The context is that of the latest try. */
  const follow = (
    first: Sent,
    again: (timeoutMs: number | undefined) => Sent,
    {
      action,
      policy,
      totalMs,
      mayRepeat,
    }: { action: string; policy: Policy; totalMs: number; mayRepeat: boolean },
  ): Sent => {
    const startedAt = performance.now();
    const deadline = totalMs > 0 ? startedAt + totalMs : Number.POSITIVE_INFINITY;
    const run = async (): Promise<unknown> => {
      let sent = first;
      for (let tries = 1, absences = 1; ; ) {
        try {
          return await sent;
        } catch (err) {
          const isAbsent = wasNotBegun(err, action);
          const pauseMs = backOffMs(isAbsent ? absences++ : tries++);
          const at = performance.now() + pauseMs;
          if (at >= deadline) throw err;
          if (isAbsent) {
            // Endpoints that are there and not to be had have open breakers, which are to be believed.
            const isHosted = (listOf(action)?.count() ?? 0) > 0;
            if (isHosted && !(err as AnyError).data?.nodeID) throw err;
            if (!isHosted) policy.absentSince ??= performance.now();
            const since = isHosted ? startedAt : (policy.absentSince ?? startedAt);
            if (at >= since + ABSENT_MS_MAX) throw err;
          } else {
            if (!mayRepeat || !isPassing(err) || tries > TRIES_MAX || !policy.budget.take()) throw err;
            broker.metrics.increment(RETRIES, { action });
          }
          await sleep(pauseMs);
          const leftMs = deadline - performance.now();
          // A busy process sleeps longer than it means to, and no time left must not become a call without a limit.
          if (leftMs <= 0) throw err;
          const isLast = !mayRepeat || tries === TRIES_MAX;
          sent = again(totalMs > 0 ? (isLast ? leftMs : Math.min(leftMs, totalMs * TRY_SHARE)) : undefined);
          result.ctx = sent.ctx as never;
        }
      }
    };
    const result: Sent = run();
    result.ctx = first.ctx as never;
    return result;
  };

  const call = (next: BrokerCall): BrokerCall => {
    return (action, params, given = {}) => {
      const policy = typeof action === "string" ? policyOf(action) : undefined;
      if (!policy || given.ctx !== undefined) return next(action, params, given);
      const isRepeatedAbove = given.parentCtx?.headers?.[REPEATED_ABOVE] !== undefined;
      const mayRepeat = policy.idempotent && policy.retry && !isRepeatedAbove;
      const opts =
        mayRepeat || isRepeatedAbove
          ? { ...given, headers: { ...given.headers, [REPEATED_ABOVE]: true } }
          : given;
      const totalMs = given.timeout ?? policy.timeoutMs;
      if (mayRepeat) {
        policy.budget.deposit();
        if (totalMs > 0) opts.timeout = totalMs * TRY_SHARE;
      }
      const send = (timeout?: number): Sent => {
        const sent = next(action, params, timeout === undefined ? opts : { ...opts, timeout });
        return policy.idempotent || sent.ctx?.endpoint?.local ? sent : outcomeUnknown(sent, action);
      };
      const sent = send();
      // The way of the checkout: what is here and not to be repeated costs no promise more.
      if (!policy.retry || (!mayRepeat && sent.ctx?.endpoint?.local)) return sent;
      return follow(sent, send, { action, policy, totalMs, mayRepeat });
    };
  };

  return {
    name: "Repeat",
    created() {
      const { localBus } = broker as unknown as { localBus: NodeJS.EventEmitter };
      // A newer version of a service may declare its actions otherwise.
      localBus.on("$services.changed", () => {
        for (const [name, policy] of policies) {
          const schema = listOf(name)?.getFirst()?.action;
          if (schema) Object.assign(policy, declared(schema), { absentSince: undefined });
        }
      });
      if (broker.isMetricsEnabled())
        broker.metrics.register({
          name: RETRIES,
          type: "counter",
          labelNames: ["action"],
          description: "Number of retries",
          rate: true,
        });
    },
    call,
  } as unknown as Middleware;
}

const RETRIES = "moleculer.request.retry.attempts.total";
