/** Order is killed around every durable step of its prepare. Without a vote there is no commit, and the key is free. */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { refusals, requoted } from "./fleet/loads.ts";

const REQUEST = { lines: [], total: 990, currency: "EUR", createdAt: "2026-01-01T00:00:00.000Z" };

const ABORT = ["abort", "abort", "abort"] as const;

testCrashes(
  ["order"],
  [
    ...threeWays("insert-orders", ["either", "either", "either"]),
    ...threeWays("insert-orders", ABORT, { isAway: true }),
    ...threeWays("abort-replaced", ABORT, { load: requoted }),
    ...threeWays("insert-orders", ABORT, { load: requoted, nth: 2, isAway: true }),
    ...threeWays("insert-orders + commit", ABORT, { load: requoted, isAway: true }),
    ...threeWays("refuse-order + commit", ABORT, refusals("order", REQUEST)),
  ],
);
