/**
 * Shrinks a plan that violates: leaves out what it can (faults, clients, weather) while the run still violates something.
 * Plans are drawn by our own generator, so that one number names one run for good; a library that shrinks what it has
 * generated itself has nothing to hold on to here, and leaving out is all that a list of faults needs.
 */
import type { Plan } from "./plan.ts";
import { type Result, runPlan } from "./run.ts";

/** A shrinking run takes milliseconds; this many end any search within seconds. */
const RUNS_MAX = 500;

export interface Shrunk {
  plan: Plan;
  result: Result;
  runs: number;
}

/** Undefined where the plan does not violate. */
export async function shrink(from: Plan, run = runPlan): Promise<Shrunk | undefined> {
  const result = await run(from);
  if (result.violations.length === 0) return undefined;
  let best: Shrunk = { plan: from, result, runs: 1 };
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = false;
    // The list is drawn up anew after every success, and taken up where it was left, so that what failed is last.
    for (let i = 0; i < simplerThan(best.plan).length && best.runs < RUNS_MAX; ) {
      const plan = simplerThan(best.plan)[i] as Plan;
      const next = await run(plan);
      best.runs++;
      if (next.violations.length > 0) {
        best = { plan, result: next, runs: best.runs };
        isSmaller = true;
      } else i++;
    }
  }
  return best;
}

/** Every plan with one thing less. */
function simplerThan(plan: Plan): Plan[] {
  const without = <Key extends "faults" | "clients" | "prices" | "strays">(key: Key): Plan[] =>
    plan[key].map((_, i) => ({ ...plan, [key]: plan[key].toSpliced(i, 1) }));
  const calmer = (["loss", "duplicate", "delay", "wrongBudget"] as const)
    .filter((kind) => plan.weather[kind] > 0)
    .map((kind) => ({ ...plan, weather: { ...plan.weather, [kind]: 0 } }));
  const changed = <Key extends "clients" | "faults">(
    key: Key,
    change: (item: Plan[Key][number]) => Plan[Key][number] | undefined,
  ): Plan[] =>
    plan[key].flatMap((item, i) => {
      const other = change(item);
      return other ? [{ ...plan, [key]: plan[key].with(i, other as never) }] : [];
    });
  return [
    ...(plan.clients.length > 1 ? without("clients") : []),
    ...without("faults"),
    ...without("strays"),
    ...without("prices"),
    ...calmer,
    ...(plan.isReplayed ? [{ ...plan, isReplayed: false }] : []),
    ...changed("clients", (client) =>
      client.startsAt.length > 1 ? { ...client, startsAt: client.startsAt.slice(1) } : undefined,
    ),
    ...changed("clients", (client) => (client.lastDiffers ? { ...client, lastDiffers: false } : undefined)),
    ...changed("faults", (fault) =>
      "times" in fault && fault.times > 1 ? { ...fault, times: fault.times - 1 } : undefined,
    ),
  ];
}
