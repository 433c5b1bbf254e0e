/**
 * Counts and times the calls that this node answers, by action. In place of the framework's metrics, which cost
 * several times the call itself: a counter and one of a dozen fields of an array are enough for rates and quantiles. Installed
 * only where the node is scraped.
 */
import type { Middleware, ServiceBroker } from "moleculer";
import { measure, type Reading } from "./measures.ts";

/** Upper bounds in seconds, from a read in memory to the longest that any call may take. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** ok, refused (the caller's mistake or a rule of the shop), failed (ours). */
type Outcome = "ok" | "refused" | "failed";

class Calls {
  readonly ended: Record<Outcome, number> = { ok: 0, refused: 0, failed: 0 };
  /** Calls by the bucket they fall into; the last one is for what took longer than all. */
  readonly buckets: number[] = new Array(BUCKETS.length + 1).fill(0);
  seconds = 0;

  end(outcome: Outcome, startedAt: number): void {
    const seconds = (performance.now() - startedAt) / 1_000;
    this.ended[outcome]++;
    this.seconds += seconds;
    let bucket = 0;
    while (bucket < BUCKETS.length && seconds > (BUCKETS[bucket] as number)) bucket++;
    this.buckets[bucket] = (this.buckets[bucket] as number) + 1;
  }
}

export function callMeasuresMiddleware(broker: ServiceBroker): Middleware {
  const byAction = new Map<string, Calls>();
  measure(broker, () => [...byAction].flatMap(([action, calls]) => readingsOf(action, calls)));
  return {
    name: "CallMeasures",
    localAction(handler: (ctx: unknown) => Promise<unknown>, { name }: { name: string }) {
      const calls = new Calls();
      byAction.set(name, calls);
      return (ctx: unknown) => {
        const startedAt = performance.now();
        return handler(ctx).then(
          (result) => {
            calls.end("ok", startedAt);
            return result;
          },
          (err) => {
            const code = (err as { code?: unknown } | null)?.code;
            calls.end(typeof code === "number" && code < 500 ? "refused" : "failed", startedAt);
            throw err;
          },
        );
      };
    },
  } as unknown as Middleware;
}

function readingsOf(action: string, { ended, buckets, seconds }: Calls): Reading[] {
  let upTo = 0;
  const cumulated = buckets.map((calls, i): Reading => {
    upTo += calls;
    return ["shop_call_seconds", upTo, { action, le: String(BUCKETS[i] ?? "+Inf") }, "_bucket"];
  });
  return [
    ...Object.entries(ended).map(
      ([outcome, calls]): Reading => ["shop_calls_total", calls, { action, outcome }],
    ),
    ...cumulated,
    ["shop_call_seconds", seconds, { action }, "_sum"],
    ["shop_call_seconds", upTo, { action }, "_count"],
  ];
}
