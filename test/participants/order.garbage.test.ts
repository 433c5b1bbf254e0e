import { describe } from "@jest/globals";
import { describeGarbage } from "./conformance.garbage.ts";
import { order } from "./order.subject.ts";

describe("order as a participant", () => describeGarbage(order));
