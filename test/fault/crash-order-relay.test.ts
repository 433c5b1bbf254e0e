/** The relay of order's outbox and its receiver are killed around their durable steps: an event has one effect. */
import { describe } from "@jest/globals";
import { testCrashes, threeWays } from "./fleet/crash.ts";

describe("the relay", () =>
  testCrashes(
    ["order"],
    [
      ...threeWays("call notification.receive", ["either", "either", "either"]),
      ...threeWays("outbox-published", ["either", "either", "either"]),
    ],
  ));
describe("the receiver", () =>
  testCrashes(["notification"], threeWays("notification_insert", ["either", "either", "either"])));
