import { describe } from "@jest/globals";
import { describeFaults } from "./conformance.faults.ts";
import { order } from "./order.subject.ts";

describe("order as a participant", () => describeFaults(order));
