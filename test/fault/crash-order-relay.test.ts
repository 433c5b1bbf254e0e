/** The relay of order's outbox and its receiver are killed around their durable steps: an event has one effect. */
import { describe } from "@jest/globals";
import { describeCrashes, threeWays } from "./fleet/crash.ts";

describe("the relay", () =>
  describeCrashes(
    ["order"],
    [
      ...threeWays("call notification.receive", ["either", "either", "either"]),
      ...threeWays("outbox-published", ["either", "either", "either"]),
    ],
  ));
describe("the receiver", () =>
  describeCrashes(["notification"], threeWays("notification_insert", ["either", "either", "either"])));
