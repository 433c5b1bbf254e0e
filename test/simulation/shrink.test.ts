/** Shrinking: what does not matter is left out, what matters stays, and a plan that holds is no violation. */
import { expect, test } from "@jest/globals";
import { planOf } from "../../simulation/draw.ts";
import type { Plan } from "../../simulation/plan.ts";
import type { Result } from "../../simulation/run.ts";
import { shrink } from "../../simulation/shrink.ts";

const PLAN: Plan = {
  ...planOf(7),
  clients: planOf(1).clients.concat(planOf(2).clients, planOf(3).clients),
  weather: { loss: 0.1, duplicate: 0.1, delay: 0.1, wrongBudget: 0.1 },
  isReplayed: true,
  faults: [
    { point: "register:decide", nth: 1, times: 5, do: "lost-late", ms: 10 },
    { at: 5, node: "order-1", do: "crash", ms: 100 },
    { point: "commit>order", nth: 2, times: 1, do: "lose", ms: 0 },
    { at: 9, node: "order-2", do: "jump", ms: 100 },
  ],
};

/** A run that violates where `breaks` says so. */
const runs = (breaks: (plan: Plan) => boolean) => async (plan: Plan) =>
  ({ violations: breaks(plan) ? ["broken"] : [], trace: [] }) as unknown as Result;

test("only what the violation needs is left", async () => {
  const needs = (plan: Plan) =>
    plan.weather.loss > 0 &&
    ["register:decide", "commit>order"].every((point) => JSON.stringify(plan.faults).includes(point));
  const shrunk = await shrink(PLAN, runs(needs));
  expect(shrunk?.plan).toMatchObject({
    clients: [{ startsAt: [expect.any(Number)] }],
    weather: { loss: 0.1, duplicate: 0, delay: 0, wrongBudget: 0 },
    isReplayed: false,
    strays: [],
    prices: [],
  });
  expect(shrunk?.plan.faults).toEqual([
    { point: "register:decide", nth: 1, times: 1, do: "lost-late", ms: 10 },
    { point: "commit>order", nth: 2, times: 1, do: "lose", ms: 0 },
  ]);
});

test("a plan that violates nothing is not shrunk", async () => {
  expect(
    await shrink(
      PLAN,
      runs(() => false),
    ),
  ).toBeUndefined();
});

test("shrinking comes to an end where everything can go but one client", async () => {
  const shrunk = await shrink(
    PLAN,
    runs(() => true),
  );
  expect(shrunk?.plan).toMatchObject({ faults: [], strays: [] });
  expect(shrunk?.plan.clients).toHaveLength(1);
  expect(shrunk?.runs).toBeLessThan(100);
});
