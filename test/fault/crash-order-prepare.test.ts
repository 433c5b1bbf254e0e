/** Order is killed around every durable step of its prepare. Without a vote there is no commit, and the key is free. */
import { describeCrashes, refusals, requoted, threeWays } from "./fleet/crash.ts";

const REQUEST = { lines: [], total: 990, currency: "EUR", createdAt: "2026-01-01T00:00:00.000Z" };

describeCrashes(
  ["order"],
  [
    ...threeWays("insert-orders", ["abort", "abort", "abort"]),
    ...threeWays("abort-replaced", ["abort", "abort", "abort"], { load: requoted }),
    ...threeWays("insert-orders", ["abort", "abort", "abort"], { load: requoted, nth: 2 }),
    ...threeWays("insert-orders + commit", ["abort", "abort", "abort"], { load: requoted }),
    ...threeWays("refuse-order + commit", ["abort", "abort", "abort"], refusals("order", REQUEST)),
  ],
);
