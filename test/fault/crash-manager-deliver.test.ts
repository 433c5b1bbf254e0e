/** The manager is killed while it carries messages, and around its note of who has acknowledged: the rest is recovery's. */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { declined } from "./fleet/loads.ts";

testCrashes(
  ["transaction-manager"],
  [
    ...threeWays("call order.prepare", ["abort", "abort", "abort"]),
    ...threeWays("call payment.prepare", ["abort", "abort", "abort"]),
    ...threeWays("call order.commit", ["commit", "commit", "commit"]),
    ...threeWays("call product.commit", ["commit", "commit", "commit"]),
    ...threeWays("call payment.commit", ["commit", "commit", "commit"]),
    ...threeWays("call product.abort", ["abort", "abort", "abort"], { load: declined }),
    ...threeWays("acknowledge", ["commit", "commit", "commit"]),
  ],
);
