/** What a client hears where votes are missing. */
import { expect, test } from "@jest/globals";
import { failureError } from "../../../services/order/place.ts";

const failures = (...codes: string[]) =>
  codes.map((code, i) => ({ participant: `participant ${i}`, code, message: `why ${i}` }));

test.each([
  [[], "deadline_exceeded"],
  [["deadline_exceeded"], "deadline_exceeded"],
  [["pending", "REQUEST_TIMEOUT"], "deadline_exceeded"],
  [["internal_error"], "internal_error"],
  [["internal_error", "internal_error"], "internal_error"],
  [["internal_error", "deadline_exceeded"], "deadline_exceeded"],
  [["internal_error", "SERVICE_NOT_AVAILABLE"], "unavailable"],
  [["internal_error", "overloaded"], "overloaded"],
  [["overloaded", "payment_unavailable"], "payment_unavailable"],
])("the failures %j are answered %s", (codes, type) => {
  expect(failureError(failures(...codes))).toMatchObject({ type });
});

test("a bug's account reaches the log: which participant, and its message", () => {
  const error = failureError(failures("internal_error"));
  expect(error.message).toContain("participant 0: why 0");
  expect(error.data).toMatchObject({ failures: [{ participant: "participant 0", message: "why 0" }] });
});
