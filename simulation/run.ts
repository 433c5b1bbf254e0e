/** One run: from a plan to what came of it. Equal plans give equal runs, step by step. */
import { startClient } from "./client.ts";
import { planOf } from "./draw.ts";
import { balancesOf } from "./invariants.ts";
import type { Plan } from "./plan.ts";
import { Shop } from "./shop.ts";
import type { TraceLine } from "./trace.ts";
import { World } from "./world.ts";

/** I4: once nothing goes wrong any more, everybody comes to an end within this. */
const END_MS = 60_000;
/** A quiet shop has deleted within this what may be deleted. */
const PRUNED_MS = 30_000;
/** Longer than a client's attempts and readings can take. */
const CLIENTS_MS = 180_000;

export interface Result {
  seed: number;
  steps: number;
  crashes: number;
  inDoubtMax: number;
  /** Virtual milliseconds. */
  endedAt: number;
  digest: number;
  violations: string[];
  trace: TraceLine[];
}

export async function runSeed(seed: number): Promise<Result> {
  return runPlan(planOf(seed));
}

export async function runPlan(plan: Plan): Promise<Result> {
  const world = new World(plan);
  const shop = new Shop(world);
  let open = plan.clients.length;
  for (const client of plan.clients)
    startClient(client, shop, world, () => {
      open--;
    });
  await world.run(() => open === 0, plan.calmAt + CLIENTS_MS);
  if (open > 0 && world.violations.length === 0) world.violate("a client has heard nothing final");
  await untilQuiet(world, shop);
  if (plan.isReplayed && world.violations.length === 0) {
    await untilPruned(world, shop);
    await replay(world, shop);
  }
  if (world.violations.length === 0) shop.checker.checkEnd();
  return {
    seed: plan.seed,
    steps: world.steps,
    crashes: world.crashes,
    inDoubtMax: shop.checker.inDoubtMax,
    endedAt: Math.round(world.now),
    digest: world.digest,
    violations: world.violations,
    trace: world.trace,
  };
}

async function untilQuiet(world: World, shop: Shop): Promise<void> {
  await world.run(() => shop.checker.isQuiet, Math.max(world.now, world.plan.calmAt) + END_MS);
  if (!shop.checker.isQuiet && world.violations.length === 0)
    world.violate(`${END_MS} ms after the last fault this is unfinished: ${shop.checker.unfinished}`);
}

async function untilPruned(world: World, shop: Shop): Promise<void> {
  await world.run(() => shop.checker.isPruned, world.now + PRUNED_MS);
  if (!shop.checker.isPruned && world.violations.length === 0)
    world.violate(`${PRUNED_MS} ms after the end decisions are still kept`);
}

/** Everything that was ever sent arrives once more, in any order, and changes no balance. */
async function replay(world: World, shop: Shop): Promise<void> {
  const before = balancesOf(shop);
  const sent = shop.network.sent.filter(({ method }) =>
    ["prepare", "commit", "abort", "outcome"].includes(method),
  );
  for (const message of sent) shop.network.redeliver(message, world.random.next() * 500);
  await world.run(() => false, world.now + 500);
  await untilQuiet(world, shop);
  const after = balancesOf(shop);
  if (after !== before && world.violations.length === 0)
    world.violate(`late messages turn ${before} into ${after}`);
}
