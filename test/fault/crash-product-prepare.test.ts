/**
 * Product is killed around every durable step of its prepare. While it is away there is no vote and so no commit; where
 * it is back in time, the manager asks again and gets the one vote that is recorded.
 */
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { scarce } from "./fleet/loads.ts";

const AWAY = { isAway: true } as const;

testCrashes(
  ["product"],
  [
    ...threeWays("reserve", ["abort", "abort", "abort"], AWAY),
    ...threeWays("reserve", ["either", "either", "either"]),
    ...threeWays("vote", ["abort", "abort", "abort"], { load: scarce, ...AWAY }),
    ...threeWays("vote + commit", ["abort", "abort", "abort"], { load: scarce, ...AWAY }),
    ...threeWays("vote + commit", ["either", "either", "either"], { load: scarce }),
  ],
);
