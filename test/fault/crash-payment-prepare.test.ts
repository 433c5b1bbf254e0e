/** Payment is killed around every durable step of its prepare, and around the call of the bank between them. */
import { declined, describeCrashes, refusals, threeWays } from "./fleet/crash.ts";

const REQUEST = {
  userId: "01890a5d-ac96-774b-bcce-b302099a8057",
  amount: 990,
  currency: "EUR",
  token: "tok_ok",
};

describeCrashes(
  ["payment"],
  [
    ...threeWays("record-intents", ["abort", "abort", "abort"]),
    ...threeWays("card authorize", ["abort", "abort", "abort"]),
    ...threeWays("record-answers", ["abort", "abort", "abort"]),
    ...threeWays("record-answers", ["abort", "abort", "abort"], { load: declined }),
    ...threeWays("record-intents", ["abort", "abort", "abort"], refusals("payment", REQUEST)),
  ],
);
