import { describe } from "@jest/globals";
import { describeVotes } from "./conformance.ts";
import { product } from "./product.subject.ts";

describe("product as a participant", () => describeVotes(product));
