/**
 * Crashes on nodes whose clocks are hours apart, from each other's and from the database's, and while all of them jump:
 * safety knows no time.
 */
import { type Crash, crash, threeWays, titleOf } from "./fleet/crash.ts";
import { testRows } from "./fleet/lanes.ts";
import { jumping } from "./fleet/loads.ts";

const HOUR_MS = 3_600_000;
const AHEAD = { CLOCK_OFFSET_MS: String(HOUR_MS) };
const BEHIND = { CLOCK_OFFSET_MS: String(-HOUR_MS) };

const rows: Crash[] = [
  ...threeWays("decide", ["abort", "either", "commit"], { victim: "manager", edge: "order" }),
  ...threeWays("reserve", ["abort", "abort", "abort"], { victim: "product", edge: "order", isAway: true }),
  ...threeWays("card capture", ["commit", "commit", "commit"], { victim: "payment", edge: "order" }),
  ...threeWays("commit-orders", ["commit", "commit", "commit"], { victim: "order", edge: "manager" }),
  ...threeWays("decide", ["abort", "either", "commit"], { load: jumping, victim: "manager", edge: "order" }),
  ...threeWays("commit-orders", ["commit", "commit", "commit"], {
    load: jumping,
    victim: "order",
    edge: "manager",
  }),
];

testRows(
  {
    manager: ["transaction-manager"],
    order: ["order", "notification"],
    product: ["product"],
    payment: ["payment"],
  },
  rows.map((row) => ({
    title: `with wrong clocks, ${titleOf(row.victim ?? "", row)}`,
    run: (fleet) => crash(fleet, row),
  })),
  { manager: AHEAD, order: BEHIND, product: BEHIND, payment: AHEAD },
);
