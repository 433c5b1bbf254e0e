/** A thread that runs seeds: of the real code, or of a mutant of it, which it applies before it loads anything else. */
import { parentPort, workerData } from "node:worker_threads";
import { mutantNamed, mutate } from "./mutate.ts";

export type Job =
  /** Seeds from `from` on: as many as given, or fewer where one violates. */
  | { do: "run"; from: number; count: number }
  /** One seed that violates, made as small as it gets, as a text for people. */
  | { do: "shrink"; seed: number }
  /** One seed's trace, as JSON lines. */
  | { do: "trace"; seed: number };

export interface RunResult {
  seeds: number;
  steps: number;
  crashes: number;
  inDoubtMax: number;
  /** The first seed that violated, and what. */
  violation: { seed: number; what: string } | undefined;
}

const { mutant } = workerData as { mutant: string | undefined };
if (mutant !== undefined) mutate(mutantNamed(mutant));
const { planOf } = await import("./draw.ts");
const { historyOf } = await import("./history.ts");
const { runSeed } = await import("./run.ts");
const { shrink } = await import("./shrink.ts");
const { toJsonLine } = await import("./trace.ts");

parentPort?.on("message", async (job: Job) => {
  parentPort?.postMessage(await work(job));
});

async function work(job: Job): Promise<RunResult | string | undefined> {
  if (job.do === "run") return runFrom(job.from, job.count);
  if (job.do === "trace") return (await runSeed(job.seed)).trace.map(toJsonLine).join("\n");
  const shrunk = await shrink(planOf(job.seed));
  return shrunk && historyOf(shrunk.plan, shrunk.result);
}

async function runFrom(from: number, count: number): Promise<RunResult> {
  const sum: RunResult = { seeds: 0, steps: 0, crashes: 0, inDoubtMax: 0, violation: undefined };
  for (let seed = from; seed < from + count && !sum.violation; seed++) {
    const { steps, crashes, inDoubtMax, violations } = await runSeed(seed);
    sum.seeds++;
    sum.steps += steps;
    sum.crashes += crashes;
    sum.inDoubtMax = Math.max(sum.inDoubtMax, inDoubtMax);
    const [what] = violations;
    if (what !== undefined) sum.violation = { seed, what };
  }
  return sum;
}
