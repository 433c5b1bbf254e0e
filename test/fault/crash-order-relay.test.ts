/** The relay of order's outbox and a consumer are killed around their durable steps: an event has one effect. */
import { describe } from "@jest/globals";
import { testCrashes, threeWays } from "./fleet/crash.ts";
import { unpublished } from "./fleet/loads.ts";

describe("the relay", () =>
  testCrashes(
    ["order"],
    threeWays("outbox-published", ["either", "either", "either"], { load: unpublished }),
  ));
describe("the consumer", () =>
  testCrashes(
    ["notification"],
    [
      ...threeWays("event-offset-moved", ["either", "either", "either"]),
      ...threeWays("inbox-taken", ["either", "either", "either"]),
      ...threeWays("notification_insert", ["either", "either", "either"]),
      ...threeWays("notification_insert + commit", ["either", "either", "either"]),
    ],
  ));
