import { describe } from "@jest/globals";
import { describeGarbage } from "./conformance.garbage.ts";
import { product } from "./product.subject.ts";

describe("product as a participant", () => describeGarbage(product));
