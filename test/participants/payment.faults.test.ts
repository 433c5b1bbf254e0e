import { describe } from "@jest/globals";
import { describeFaults } from "./conformance.faults.ts";
import { payment } from "./payment.subject.ts";

describe("payment as a participant", () => describeFaults(payment));
