/** The same crashes on nodes whose clocks are two hours apart, and on one whose clock jumps: safety knows no time. */
import { describe } from "@jest/globals";
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { jumping } from "./fleet/loads.ts";

const HOUR = 3_600_000;

describe.each([
  ["ahead", HOUR],
  ["behind", -HOUR],
])("with its clock an hour %s, the others' as far the other way,", (_, offset) => {
  const clocks = { victim: offset, rest: -offset };
  testCrashes(["transaction-manager"], threeWays("decide", ["abort", "either", "commit"]), clocks);
  testCrashes(["product"], threeWays("reserve", ["abort", "abort", "abort"], { isAway: true }), clocks);
});

describe("while its clock jumps back and forth by hours", () => {
  testCrashes(["transaction-manager"], threeWays("decide", ["abort", "either", "commit"], { load: jumping }));
  testCrashes(["payment"], threeWays("card capture", ["commit", "commit", "commit"], { load: jumping }));
  testCrashes(["order"], threeWays("commit-orders", ["commit", "commit", "commit"], { load: jumping }));
});
