/** Order is killed around every durable step of phase two, the event's row included: it is in the same statement. */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { declined, tombstones } from "./fleet/loads.ts";

const REQUEST = { lines: [], total: 990, currency: "EUR", createdAt: "2026-01-01T00:00:00.000Z" };

testCrashes(
  ["order"],
  [
    ...threeWays("commit-orders", ["commit", "commit", "commit"]),
    ...threeWays("abort-orders", ["abort", "abort", "abort"], { load: declined }),
    ...threeWays("tombstone-orders", ["abort", "abort", "abort"], tombstones("order", REQUEST)),
  ],
);
