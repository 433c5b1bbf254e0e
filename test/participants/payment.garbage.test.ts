import { describe } from "@jest/globals";
import { describeGarbage } from "./conformance.garbage.ts";
import { payment } from "./payment.subject.ts";

describe("payment as a participant", () => describeGarbage(payment));
