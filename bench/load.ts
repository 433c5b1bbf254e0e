/** A closed loop: each client sends its next checkout when the last one is answered. */
export interface Load {
  clients: number;
  seconds: number;
}

export interface Measured {
  perSecond: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  /** Any outcome but success. */
  failed: number;
}

/** Runs `checkout` in `clients` loops for `seconds`, after a warm-up of a fifth of that, which is not counted. */
export async function closedLoop(
  { clients, seconds }: Load,
  checkout: () => Promise<boolean>,
): Promise<Measured> {
  const measureFrom = performance.now() + (seconds * 1000) / 5;
  const until = measureFrom + seconds * 1000;
  const latencies: number[] = [];
  let failed = 0;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let startedAt = performance.now(); startedAt < until; ) {
        const succeeded = await checkout();
        const endedAt = performance.now();
        if (startedAt >= measureFrom && endedAt <= until) {
          if (succeeded) latencies.push(endedAt - startedAt);
          else failed++;
        }
        startedAt = endedAt;
      }
    }),
  );
  return summarize(latencies, seconds, failed);
}

/** `latencies` in milliseconds, of the successes alone. */
export function summarize(latencies: number[], seconds: number, failed: number): Measured {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return {
    perSecond: Math.round(sorted.length / seconds),
    p50Ms: at(0.5),
    p95Ms: at(0.95),
    p99Ms: at(0.99),
    failed,
  };
}

const round = (ms: number): number => Math.round(ms * 100) / 100;
