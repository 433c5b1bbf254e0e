import { describe } from "@jest/globals";
import { describeVotes } from "./conformance.ts";
import { payment } from "./payment.subject.ts";

describe("payment as a participant", () => describeVotes(payment));
