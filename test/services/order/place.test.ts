/** What a client hears where votes are missing, and when. */
import { expect, test } from "@jest/globals";
import type { RunResult } from "../../../actors/protocol/messages.ts";
import { failureError, type PlacePorts, place } from "../../../services/order/place.ts";

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

const COMMAND = {
  userId: "ann",
  idempotencyKey: "k",
  items: [{ productId: "cup", quantity: 1 }],
  token: "tok_ok",
  expectedTotal: undefined,
};
/** Looking for the key takes `lookMs`; the transaction ends as told. Notes the time that each is given. */
function portsOf({ lookMs = 0, result }: { lookMs?: number; result: Partial<RunResult> }) {
  let at = 0;
  const given: { prepareMs: number; answerMs: number }[] = [];
  const ports = {
    now: () => at,
    today: () => new Date(0),
    foreign: [],
    findByKey: async () => {
      at += lookMs;
      return undefined;
    },
    quote: async () => ({ currency: "EUR", lines: [], total: 0 }),
    run: async (_requests: unknown, { prepareMs, answerMs }: { prepareMs: number; answerMs: number }) => {
      given.push({ prepareMs, answerMs });
      return result;
    },
  } as unknown as PlacePorts;
  return { ports, given };
}
const DECLINED = [{ participant: "payment", reason: "payment_declined" }];

test.each([
  [true, "payment_declined"],
  [undefined, "payment_declined"],
  [false, "unavailable"],
])("a no whose release is %s is answered %s", async (released, type) => {
  const { ports } = portsOf({
    result: { outcome: "abort", refusals: DECLINED, failures: [], released } as never,
  });
  await expect(place(COMMAND, "hash", ports)).rejects.toMatchObject({ type });
});

test("what comes before the transaction is taken off its time", async () => {
  const result: RunResult = { outcome: "commit", txId: "t", durable: ["order"] };
  const { ports, given } = portsOf({ lookMs: 1_500, result });
  await place(COMMAND, "hash", ports);
  expect(given).toEqual([{ prepareMs: 2_000, answerMs: 3_000 }]);
});

test("a transaction is not begun where there is no time for it", async () => {
  const { ports, given } = portsOf({ lookMs: 4_100, result: {} });
  await expect(place(COMMAND, "hash", ports)).rejects.toMatchObject({ type: "deadline_exceeded" });
  expect(given).toEqual([]);
});
