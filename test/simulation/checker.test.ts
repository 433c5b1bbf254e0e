/** The checker sees what is planted: each of these tampers with one thing in the middle of a run that is sound. */
import { expect, test } from "@jest/globals";
import { startClient } from "../../simulation/client.ts";
import type { View } from "../../simulation/database.ts";
import { planOf } from "../../simulation/draw.ts";
import type { Plan } from "../../simulation/plan.ts";
import { runPlan } from "../../simulation/run.ts";
import { Shop } from "../../simulation/shop.ts";
import { World } from "../../simulation/world.ts";

const PLAN: Plan = {
  ...planOf(1),
  stock: [5],
  clients: [
    {
      name: "client-1",
      key: "key-1",
      product: 0,
      quantity: 2,
      token: "tok_ok",
      startsAt: [0],
      lastDiffers: false,
    },
  ],
  prices: [],
  faults: [],
  strays: [],
  weather: { loss: 0, duplicate: 0, delay: 0, wrongBudget: 0 },
  isReplayed: false,
};

/** Runs until the order is confirmed everywhere, then changes a row behind everybody's back. */
async function tamper(change: (shop: Shop, txId: string) => void): Promise<string[]> {
  const world = new World(PLAN);
  const shop = new Shop(world);
  let isOver = false;
  startClient(PLAN.clients[0] as Plan["clients"][number], shop, world, () => {
    isOver = true;
  });
  await world.run(() => isOver && shop.checker.isQuiet, 60_000);
  expect(world.violations).toEqual([]);
  change(shop, shop.databases.order.rows<{ tx_id: string }>("orders")[0]?.tx_id as string);
  if (world.violations.length === 0) shop.checker.checkEnd();
  return world.violations;
}

const turn = (table: string, key: string, into: object) => (view: View) =>
  view.put(table, key, { ...view.get(table, key), ...into });

test("a sound run is sound", async () => {
  expect((await runPlan(PLAN)).violations).toEqual([]);
});

test.each<[string, RegExp, (shop: Shop, txId: string) => void]>([
  [
    "a decision that flips",
    /turns from commit to abort/,
    ({ databases }, txId) => databases.register.write(turn("decisions", txId, { outcome: "abort" })),
  ],
  [
    "a vote that changes after its end",
    /product turns .* from committed to aborted/,
    ({ databases }, txId) => databases.product.write(turn("reservations", txId, { state: "aborted" })),
  ],
  [
    "units that nobody sold",
    /product 0: 1 available, 2 held or sold, 5 in all/,
    ({ databases }) =>
      databases.product.write((view) => {
        const [row] = view.all("products");
        view.put("products", row?.id as string, { ...row, available: 1 });
      }),
  ],
  [
    "a second attempt under one key",
    /is held by .* and other/,
    ({ databases }, txId) =>
      databases.order.write((view) =>
        view.put("orders", "other", { ...view.get("orders", txId), tx_id: "other" }),
      ),
  ],
  [
    "a commit without votes",
    /is decided commit, but order is without a vote/,
    (shop) => {
      shop.checker.onRun("manager-1", "new", { order: {} });
      shop.databases.register.write((view) =>
        view.put("decisions", "new", {
          tx_id: "new",
          outcome: "commit",
          participants: ["order"],
          acknowledged: [],
          settled: false,
        }),
      );
    },
  ],
  [
    "an event that is missing",
    /0 events for 1 confirmed orders/,
    ({ databases }, txId) =>
      databases.order.write((view) => view.put("outbox", `order.confirmed ${txId}`, undefined)),
  ],
  ["money that is given back", /payment voids .*, which is commit/, ({ bank }, txId) => void bank.void(txId)],
  [
    "money that is taken for nothing",
    /is aborted, and the bank still holds money/,
    (shop) => {
      shop.checker.onRun("manager-1", "new", { order: {} });
      void shop.bank.authorize({ key: "new", amount: 1, currency: "GBP", token: "tok_ok" });
    },
  ],
  [
    "an acknowledgement of what is not committed",
    /product has acknowledged .* and is without a vote/,
    (shop) => {
      shop.checker.onRun("manager-1", "new", { order: {} });
      shop.databases.register.write((view) =>
        view.put("decisions", "new", {
          tx_id: "new",
          outcome: "abort",
          participants: [],
          acknowledged: ["product"],
          settled: true,
        }),
      );
    },
  ],
])("%s", async (_, expected, change) => {
  expect((await tamper(change)).join("\n")).toMatch(expected);
});

test("what never ends is a violation", async () => {
  const found = new Set<string>();
  // Managers that are cut off for good, at one moment after another: once votes are in doubt, they stay so.
  for (let at = 1; at <= 60; at += 3) {
    const faults = ["manager-1", "manager-2", "manager-3"].map((node) => ({
      at,
      node,
      do: "cut" as const,
      ms: 1e9,
    }));
    const { violations } = await runPlan({ ...PLAN, faults });
    for (const what of violations)
      found.add(what.match(/after the last fault this is unfinished: \w+ prepared/)?.[0] ?? what);
  }
  expect([...found].join("\n")).toMatch(
    /^after the last fault this is unfinished: (order|product|payment) prepared$/m,
  );
});
