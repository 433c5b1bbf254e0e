import { describe } from "@jest/globals";
import { describeFaults } from "./conformance.faults.ts";
import { product } from "./product.subject.ts";

describe("product as a participant", () => describeFaults(product));
