/** Runs of the simulator: repeatable to the step, and clean over as many seeds as fit into a test. */
import { expect, test } from "@jest/globals";
import { planOf } from "../../simulation/draw.ts";
import { runSeeds, traceOf } from "../../simulation/pool.ts";
import { runSeed } from "../../simulation/run.ts";
import { toJsonLine } from "../../simulation/trace.ts";

test("one seed is one run: every step and every byte of its trace, also in another thread", async () => {
  for (const seed of [3, 48, 441]) {
    const [one, other] = [await runSeed(seed), await runSeed(seed)];
    expect(one.steps).toBeGreaterThan(100);
    expect(other).toEqual(one);
    expect(await traceOf(seed)).toBe(one.trace.map(toJsonLine).join("\n"));
  }
});

test("seeds differ, in what is planned and in what happens", async () => {
  const seeds = Array.from({ length: 40 }, (_, i) => i + 1);
  const digests = new Set<number>();
  for (const seed of seeds) digests.add((await runSeed(seed)).digest);
  expect(digests.size).toBe(seeds.length);
  expect(new Set(seeds.map((seed) => JSON.stringify({ ...planOf(seed), seed: 0 }))).size).toBe(seeds.length);
});

test("1,000 seeds violate nothing, and things do go wrong in them", async () => {
  const summary = await runSeeds(1, 1_000);
  expect(summary.first).toBeUndefined();
  expect(summary).toMatchObject({ seeds: 1_000, violations: 0 });
  expect(summary.crashes).toBeGreaterThan(300);
  expect(summary.inDoubtMax).toBeGreaterThan(6);
}, 120_000);

test("the runs reach every answer that a client may hear", async () => {
  const heard = new Set<string>();
  for (let seed = 1; seed <= 200; seed++)
    for (const line of (await runSeed(seed)).trace)
      if (line.step === "answer") heard.add(`${line.status} ${line.code ?? ""}`.trim());
  for (const answer of [
    "201",
    "202",
    "402 payment_declined",
    "409 insufficient_stock",
    "409 request_in_progress",
    "422 key_reused",
    "503 payment_unavailable",
    "504 deadline_exceeded",
    "504 REQUEST_TIMEOUT",
  ])
    expect([...heard]).toContain(answer);
}, 60_000);
