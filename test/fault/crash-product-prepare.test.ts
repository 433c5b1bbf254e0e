/** Product is killed around every durable step of its prepare. Without a vote there is no commit. */
import { describeCrashes, scarce, threeWays } from "./fleet/crash.ts";

describeCrashes(
  ["product"],
  [
    ...threeWays("reserve", ["abort", "abort", "abort"]),
    ...threeWays("vote", ["abort", "abort", "abort"], { load: scarce }),
    ...threeWays("vote + commit", ["abort", "abort", "abort"], { load: scarce }),
  ],
);
