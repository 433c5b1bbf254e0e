/**
 * What a participant decides on a message, given the row it has for the transaction. Pure: no I/O, no clock.
 *
 *                prepare, work done              commit
 *     (no row) ────────────────────▶ prepared ────────────▶ committed
 *        │                              │
 *        │ abort, or a no               │ abort
 *        └───────────▶ aborted ◀────────┘
 *
 * `examining` stands before `prepared` where a participant must ask an outside system first (payment). Final states
 * never change. The row is looked at before anything else: a duplicate gets the recorded vote even when its deadline
 * has passed, because the first vote may already have been counted.
 */
import type { DecisionReply, PrepareEntry, PrepareReply, Refusal, TxId } from "./messages.ts";

export type VoteState = "examining" | "prepared" | "committed" | "aborted";

export interface VoteRecord {
  state: VoteState;
  /** Undefined on a tombstone that an abort left: it stands for any request. */
  hash: string | undefined;
  /** Why the vote was no; undefined where an abort came from outside. */
  refusal: Refusal | undefined;
  /** True where an operator made the state final, against or without the register. */
  heuristic?: boolean;
}

export type PrepareStep =
  | { do: "answer"; reply: PrepareReply }
  | { do: "refuse"; refusal: Refusal }
  | { do: "examine" };

export const EXPIRED: Refusal = { reason: "deadline_exceeded" };
export const ABORTED: Refusal = { reason: "aborted" };

/** Rule 1. `seal`: no record may be made at or below it. */
export function onPrepare(record: VoteRecord | undefined, entry: PrepareEntry, seal: TxId): PrepareStep {
  if (record) {
    if (record.hash !== undefined && record.hash !== entry.hash)
      return { do: "answer", reply: { kind: "conflict" } };
    switch (record.state) {
      case "examining":
        return { do: "examine" };
      case "aborted":
        return { do: "answer", reply: { kind: "no", ...(record.refusal ?? ABORTED) } };
      default:
        return { do: "answer", reply: { kind: "yes" } };
    }
  }
  if (entry.txId <= seal) return { do: "answer", reply: { kind: "forgotten" } };
  if (entry.budgetMs <= 0) return { do: "refuse", refusal: EXPIRED };
  return { do: "examine" };
}

/** Rule 4, for a commit that found no prepared row. */
export function onCommit(record: VoteRecord | undefined, txId: TxId, seal: TxId): DecisionReply {
  if (!record) return txId <= seal ? "forgotten" : "unknown";
  switch (record.state) {
    case "committed":
      return "done";
    case "aborted":
      return record.heuristic ? "heuristic" : "contradiction";
    default:
      return "unknown"; // no yes was ever sent from here, so no commit can rightly exist
  }
}

export type AbortStep = { do: "answer"; reply: DecisionReply } | { do: "release" } | { do: "tombstone" };

/** Rule 4: an abort that overtakes its prepare leaves a tombstone, so that the late prepare votes no. */
export function onAbort(record: VoteRecord | undefined, txId: TxId, seal: TxId): AbortStep {
  if (!record) return txId <= seal ? { do: "answer", reply: "forgotten" } : { do: "tombstone" };
  switch (record.state) {
    case "aborted":
      return { do: "answer", reply: "done" };
    case "committed":
      return { do: "answer", reply: record.heuristic ? "heuristic" : "contradiction" };
    default:
      return { do: "release" };
  }
}
