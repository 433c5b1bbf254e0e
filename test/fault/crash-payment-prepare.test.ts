/** Payment is killed around every durable step of its prepare, and around the call of the bank between them. */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { declined, refusals } from "./fleet/loads.ts";

const REQUEST = {
  userId: "01890a5d-ac96-774b-bcce-b302099a8057",
  amount: 990,
  currency: "EUR",
  token: "tok_ok",
};
const ABORT = ["abort", "abort", "abort"] as const;
const EITHER = ["either", "either", "either"] as const;

testCrashes(
  ["payment"],
  [
    ...threeWays("record-intents", ABORT, { isAway: true }),
    ...threeWays("card authorize", ABORT, { isAway: true }),
    ...threeWays("card authorize", EITHER),
    ...threeWays("record-answers", ABORT, { isAway: true }),
    ...threeWays("record-answers", EITHER),
    ...threeWays("record-answers", EITHER, { load: declined }),
    ...threeWays("record-intents", ABORT, refusals("payment", REQUEST)),
  ],
);
