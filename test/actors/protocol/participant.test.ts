/** Every state of a vote row × every message, beside and below the seal. */
import { describe, expect, test } from "@jest/globals";
import type { PrepareEntry } from "../../../actors/protocol/messages.ts";
import {
  type AbortStep,
  onAbort,
  onCommit,
  onPrepare,
  type PrepareStep,
  type VoteRecord,
  type VoteState,
} from "../../../actors/protocol/participant.ts";

const LOW = "01900000-0000-7000-8000-000000000001";
const SEAL = "01900000-0000-7000-8000-000000000005";
const HIGH = "01900000-0000-7000-8000-000000000009";
const TX_IDS = { "below the seal": LOW, "at the seal": SEAL, "above the seal": HIGH };
const STATES: VoteState[] = ["examining", "prepared", "committed", "aborted"];
const REFUSAL = { reason: "insufficient_stock", detail: { available: 3 } };

const entry = (txId: string, budgetMs: number): PrepareEntry => ({ txId, hash: "h", budgetMs, request: {} });
const record = (state: VoteState, hash: string | undefined = "h", refusal?: typeof REFUSAL): VoteRecord => ({
  state,
  hash,
  refusal,
});
const answer = (reply: object): PrepareStep => ({ do: "answer", reply }) as PrepareStep;

describe.each(Object.entries(TX_IDS))("a prepare %s", (where, txId) => {
  describe.each([1_000, 0, -1])("with a budget of %i ms", (budgetMs) => {
    test("examines where there is no row, unless it is sealed or late", () => {
      const step = onPrepare(undefined, entry(txId, budgetMs), SEAL);
      if (where !== "above the seal") expect(step).toEqual(answer({ kind: "forgotten" }));
      else if (budgetMs > 0) expect(step).toEqual({ do: "examine" });
      else expect(step).toEqual({ do: "refuse", refusal: { reason: "deadline_exceeded" } });
    });

    // The row alone decides: neither the seal nor the deadline may change a vote that was given.
    test.each(STATES)("gets the recorded vote of a row that is %s", (state) => {
      const expected = {
        examining: { do: "examine" },
        prepared: answer({ kind: "yes" }),
        committed: answer({ kind: "yes" }),
        aborted: answer({ kind: "no", reason: "aborted" }),
      }[state];
      expect(onPrepare(record(state), entry(txId, budgetMs), SEAL)).toEqual(expected);
    });

    test.each(STATES)("with another request is a conflict with a row that is %s", (state) => {
      expect(onPrepare(record(state, "other"), entry(txId, budgetMs), SEAL)).toEqual(
        answer({ kind: "conflict" }),
      );
    });

    test("hears the recorded reason of a no", () => {
      expect(onPrepare(record("aborted", "h", REFUSAL), entry(txId, budgetMs), SEAL)).toEqual(
        answer({ kind: "no", ...REFUSAL }),
      );
    });

    test("hears no from a tombstone, which stands for any request", () => {
      const tombstone: VoteRecord = { state: "aborted", hash: undefined, refusal: undefined };
      expect(onPrepare(tombstone, entry(txId, budgetMs), SEAL)).toEqual(
        answer({ kind: "no", reason: "aborted" }),
      );
    });
  });
});

describe.each(Object.entries(TX_IDS))("a decision %s", (where, txId) => {
  const sealed = where !== "above the seal";

  test("to commit is never done without a row", () => {
    expect(onCommit(undefined, txId, SEAL)).toBe(sealed ? "forgotten" : "unknown");
  });

  test("to abort leaves a tombstone without a row, unless it is sealed", () => {
    const expected: AbortStep = sealed ? { do: "answer", reply: "forgotten" } : { do: "tombstone" };
    expect(onAbort(undefined, txId, SEAL)).toEqual(expected);
  });

  test.each([
    ["examining", "unknown", { do: "release" }],
    ["prepared", "unknown", { do: "release" }],
    ["committed", "done", { do: "answer", reply: "contradiction" }],
    ["aborted", "contradiction", { do: "answer", reply: "done" }],
  ] as const)("that finds a row %s: commit is %s, abort does %j", (state, commit, abort) => {
    expect(onCommit(record(state), txId, SEAL)).toBe(commit);
    expect(onAbort(record(state), txId, SEAL)).toEqual(abort);
  });
});

describe("a row that an operator made final", () => {
  const forced = (state: VoteState): VoteRecord => ({ ...record(state), heuristic: true });

  test("answers the opposite decision as what it is, and never as done", () => {
    expect(onCommit(forced("aborted"), HIGH, SEAL)).toBe("heuristic");
    expect(onAbort(forced("committed"), HIGH, SEAL)).toEqual({ do: "answer", reply: "heuristic" });
  });

  test("answers the same decision as done", () => {
    expect(onCommit(forced("committed"), HIGH, SEAL)).toBe("done");
    expect(onAbort(forced("aborted"), HIGH, SEAL)).toEqual({ do: "answer", reply: "done" });
  });
});
