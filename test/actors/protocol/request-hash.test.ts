import { expect, test } from "@jest/globals";
import { requestHash } from "../../../actors/protocol/request-hash.ts";

test("a request hash tells requests apart, and is the same for the same text everywhere", () => {
  expect(requestHash('{"quantity":1}')).toBe(requestHash('{"quantity":1}'));
  expect(requestHash('{"quantity":1}')).not.toBe(requestHash('{"quantity":2}'));
  // sha256 of the empty text: replicas of another version must agree with this one.
  expect(requestHash("")).toBe("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
});
