/** All sequences of replies up to a length: commit only with a yes from exactly the enlisted set. */
import { describe, expect, test } from "@jest/globals";
import { Drive } from "../../../actors/protocol/driver.ts";
import type { PrepareReply } from "../../../actors/protocol/messages.ts";

const TX = "01900000-0000-7000-8000-000000000001";
const YES: PrepareReply = { kind: "yes" };
const NO: PrepareReply = { kind: "no", reason: "insufficient_stock", detail: { available: 0 } };
const NOT_VOTES: PrepareReply[] = [
  { kind: "pending" },
  { kind: "conflict" },
  { kind: "forgotten" },
  { kind: "error", code: "internal_error", message: "oops" },
];
const REPLIES = [YES, NO, ...NOT_VOTES];

describe.each([0, 1, 2, 3])("with %i enlisted", (size) => {
  const enlisted = ["order", "product", "payment"].slice(0, size);

  test("commit needs a yes from each of them, whatever else is heard from whomever", () => {
    const messages = [...enlisted, "stranger"].flatMap((from) => REPLIES.map((reply) => ({ from, reply })));
    let commits = 0;
    const walk = (heard: typeof messages): void => {
      const drive = new Drive(TX, enlisted);
      const first = new Map<string, string>();
      for (const { from, reply } of heard) {
        drive.receive(from, reply);
        const vote = reply.kind === "yes" || reply.kind === "no";
        if (vote && enlisted.includes(from) && !first.has(from)) first.set(from, reply.kind);
      }
      const votes = [...first.values()];
      const expected = votes.includes("no")
        ? "abort"
        : size > 0 && votes.length === size
          ? "commit"
          : "propose-abort";
      if (drive.verdict() !== expected)
        throw new Error(`${drive.verdict()} instead of ${expected} after ${JSON.stringify(heard)}`);
      if (expected === "commit") commits++;
      if (heard.length < (size < 3 ? 4 : 3)) for (const next of messages) walk([...heard, next]);
    };
    walk([]);
    expect(commits > 0).toBe(size > 0);
  });
});

test("none enlisted is never a commit", () => {
  expect(new Drive(TX, []).verdict()).toBe("propose-abort");
});

test("stale, repeated and unsolicited votes are not kept", () => {
  const drive = new Drive(TX, ["order", "product"]);
  drive.receive("stranger", YES);
  drive.receive("stranger", NO);
  drive.receive("order", YES);
  drive.receive("order", NO);
  drive.receive("order", YES);
  expect(drive.prepared).toEqual(["order"]);
  expect(drive.refusals).toEqual([]);
  expect(drive.refused).toBe(false);
  drive.receive("product", NO);
  drive.receive("product", YES);
  expect(drive.prepared).toEqual(["order"]);
  expect(drive.refusals).toEqual([
    { participant: "product", reason: "insufficient_stock", detail: { available: 0 } },
  ]);
});

test.each(NOT_VOTES)("$kind is a failure, not a no", (reply) => {
  const drive = new Drive(TX, ["order"]);
  drive.receive("order", reply);
  expect(drive.refused).toBe(false);
  expect(drive.verdict()).toBe("propose-abort");
  expect(drive.failures).toEqual([
    { participant: "order", code: expect.any(String), message: expect.any(String) },
  ]);
});

test("a failure that is followed by the vote does not stand in its way", () => {
  const drive = new Drive(TX, ["order"]);
  drive.fail("order", "unavailable", "gone for a moment");
  expect(drive.verdict()).toBe("propose-abort");
  drive.receive("order", YES);
  expect(drive.verdict()).toBe("commit");
});

test("after the close those who neither voted nor failed are late, and what they send is ignored", () => {
  const drive = new Drive(TX, ["order", "product", "payment"]);
  drive.receive("order", YES);
  drive.fail("product", "unavailable", "gone");
  drive.close();
  drive.fail("payment", "REQUEST_TIMEOUT", "much too late");
  for (const reply of REPLIES) drive.receive("payment", reply);
  expect(drive.failures.map(({ participant, code }) => [participant, code])).toEqual([
    ["product", "unavailable"],
    ["payment", "deadline_exceeded"],
  ]);
  expect(drive).toMatchObject({ prepared: ["order"], refused: false });
  expect(drive.verdict()).toBe("propose-abort");
});

test("after a no nobody is late: it ended the collection", () => {
  const drive = new Drive(TX, ["order", "product"]);
  drive.receive("order", NO);
  drive.close();
  expect(drive.failures).toEqual([]);
  expect(drive.verdict()).toBe("abort");
});
