/** Payment is killed around every durable step of a commit, and around the capture: one authorization, one capture. */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { bankAway } from "./fleet/loads.ts";

testCrashes(
  ["payment"],
  [
    ...threeWays("card capture", ["commit", "commit", "commit"]),
    ...threeWays("settle-committed", ["commit", "commit", "commit"]),
    ...threeWays("settle-committed", ["commit", "commit", "commit"], { load: bankAway }),
    ...threeWays("clear-debts", ["commit", "commit", "commit"], { load: bankAway }),
  ],
);
