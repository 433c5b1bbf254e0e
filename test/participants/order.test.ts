import { describe } from "@jest/globals";
import { describeVotes } from "./conformance.ts";
import { order } from "./order.subject.ts";

describe("order as a participant", () => describeVotes(order));
