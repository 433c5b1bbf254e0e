/** Payment is killed around every durable step of an abort, and around the void: no card stays held. */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { soldOut, tombstones } from "./fleet/loads.ts";

const REQUEST = {
  userId: "01890a5d-ac96-774b-bcce-b302099a8057",
  amount: 990,
  currency: "EUR",
  token: "tok_ok",
};

testCrashes(
  ["payment"],
  [
    ...threeWays("settle-aborted", ["abort", "abort", "abort"], { load: soldOut }),
    ...threeWays("card void", ["abort", "abort", "abort"], { load: soldOut }),
    ...threeWays("clear-debts", ["abort", "abort", "abort"], { load: soldOut }),
    ...threeWays("tombstone-payments", ["abort", "abort", "abort"], tombstones("payment", REQUEST)),
  ],
);
