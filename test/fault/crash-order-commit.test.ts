/** Order is killed around every durable step of phase two, the event's row included: it is in the same statement. */
import { declined, describeCrashes, threeWays, tombstones } from "./fleet/crash.ts";

const REQUEST = { lines: [], total: 990, currency: "EUR", createdAt: "2026-01-01T00:00:00.000Z" };

describeCrashes(
  ["order"],
  [
    ...threeWays("commit-orders", ["commit", "commit", "commit"]),
    ...threeWays("abort-orders", ["abort", "abort", "abort"], { load: declined }),
    ...threeWays("tombstone-orders", ["abort", "abort", "abort"], tombstones("order", REQUEST)),
  ],
);
