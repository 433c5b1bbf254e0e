/** Runs seeds on threads, one per core: many seeds of the real code, or one mutant after another. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Job, RunResult } from "./worker.ts";

/** Seeds per message to a thread: half a second's work or so. */
const CHUNK = 50;
/** Every mutant must be caught within these. */
export const MUTANT_SEEDS_MAX = 1_000;

interface Violation {
  seed: number;
  what: string;
}

export interface Summary {
  seeds: number;
  steps: number;
  crashes: number;
  /** Seeds that violated. */
  violations: number;
  /** Votes in doubt at one moment, at most. */
  inDoubtMax: number;
  /** That of the lowest seed known to violate. */
  first: Violation | undefined;
}

export interface MutantResult {
  mutant: string;
  caught: boolean;
  /** What the first seed that catches it shows; undefined where it survived. */
  violation: Violation | undefined;
}

class Thread {
  readonly #worker: Worker;

  constructor(mutant: string | undefined) {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: { mutant } });
  }

  do(job: Job & { do: "run" }): Promise<RunResult>;
  do(job: Job & { do: "shrink" | "trace" }): Promise<string>;
  do(job: Job): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#worker.once("error", reject);
      this.#worker.once("message", (result) => {
        this.#worker.off("error", reject);
        resolve(result);
      });
      this.#worker.postMessage(job);
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

async function onThread<Answer>(
  mutant: string | undefined,
  work: (thread: Thread) => Promise<Answer>,
): Promise<Answer> {
  const thread = new Thread(mutant);
  try {
    return await work(thread);
  } finally {
    await thread.end();
  }
}

/** Seeds `from` to `from + count - 1`. After a violation no further chunk begins. `told` hears how far it is. */
export async function runSeeds(
  from: number,
  count: number,
  told: (seeds: number) => void = () => {},
): Promise<Summary> {
  const summary: Summary = {
    seeds: 0,
    steps: 0,
    crashes: 0,
    violations: 0,
    inDoubtMax: 0,
    first: undefined,
  };
  const violations: Violation[] = [];
  const end = from + count;
  let next = from;
  const work = async (thread: Thread) => {
    while (next < end && violations.length === 0) {
      const chunk = { from: next, count: Math.min(CHUNK, end - next) };
      next += chunk.count;
      const result = await thread.do({ do: "run", ...chunk });
      summary.seeds += result.seeds;
      summary.steps += result.steps;
      summary.crashes += result.crashes;
      summary.inDoubtMax = Math.max(summary.inDoubtMax, result.inDoubtMax);
      if (result.violation) violations.push(result.violation);
      told(summary.seeds);
    }
  };
  const threads = Math.min(availableParallelism(), Math.ceil(count / CHUNK));
  await Promise.all(Array.from({ length: threads }, () => onThread(undefined, work)));
  summary.violations = violations.length;
  summary.first = violations.sort((a, b) => a.seed - b.seed)[0];
  return summary;
}

/** Each mutant against seeds from `from` on, until one catches it. `told` hears each result as it comes. */
export async function runMutants(
  names: readonly string[],
  from: number,
  told: (result: MutantResult) => void = () => {},
): Promise<MutantResult[]> {
  const results: MutantResult[] = [];
  const waiting = [...names];
  let failure: unknown;
  const next = async (): Promise<void> => {
    const mutant = waiting.shift();
    if (mutant === undefined) return;
    const result = await onThread(mutant, async (thread): Promise<MutantResult> => {
      const { violation } = await thread.do({ do: "run", from, count: MUTANT_SEEDS_MAX });
      return { mutant, caught: violation !== undefined, violation };
    });
    results.push(result);
    told(result);
    return next();
  };
  // One that does not fit ends the others too, but no thread is left behind.
  const fail = (err: unknown) => {
    failure ??= err;
    waiting.length = 0;
  };
  await Promise.all(Array.from({ length: availableParallelism() }, () => next().catch(fail)));
  if (failure) throw failure;
  return results;
}

/** The smallest run found that violates like this seed does, as a text for people. */
export const shrunkHistoryOf = (seed: number, mutant?: string): Promise<string> =>
  onThread(mutant, (thread) => thread.do({ do: "shrink", seed }));

export const traceOf = (seed: number): Promise<string> =>
  onThread(undefined, (thread) => thread.do({ do: "trace", seed }));
