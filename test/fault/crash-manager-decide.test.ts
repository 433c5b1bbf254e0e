/**
 * The manager is killed around the one statement that decides. Before it nobody can commit; after it everybody must,
 * though nobody has been told; in the middle whoever asks finds out which.
 */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { unanswered } from "./fleet/loads.ts";

testCrashes(
  ["transaction-manager"],
  [
    ...threeWays("decide", ["abort", "either", "commit"]),
    ...threeWays("decide", ["abort", "abort", "abort"], { load: unanswered }),
  ],
);
