/**
 * What operators are told of a transaction: each participant's account of its own part, and the register's of its. Plain
 * JSON, because it travels between nodes. An account is a look at the moment it was asked for, never a vote.
 */
import type { Money } from "../../lib/money.ts";
import type { Outcome, Refusal, TxId } from "./messages.ts";

/** An operator's change of a row against or without the register (rule 8); times are RFC 3339. */
export interface Heuristic {
  outcome: Outcome;
  /** The vote's state before. */
  stateBefore: string;
  by: string;
  reason: string;
  at: string;
  /** What the register says; null until it has been asked with success. */
  stored: Outcome | null;
  closed: { by: string; reason: string; at: string } | null;
}

/** A participant's account of one transaction. */
export interface VoteReport {
  txId: TxId;
  state: "authorizing" | "prepared" | "committed" | "aborted";
  /** Since the vote, or the intent, was recorded; null on a no that has no time. */
  ageMs: number | null;
  /** Why it voted no. */
  refusal: Refusal | null;
  /** What it still owes to the world outside, such as a capture. */
  debt: string | null;
  /** Everybody enlisted, where the vote records it. */
  enlisted: string[] | null;
  userId: string | null;
  units: number | null;
  money: Money | null;
  /** The event that tells of the commit, where there is one and it was asked for. */
  event: { id: string; published: boolean } | null;
  /** Oldest first. */
  heuristics: Heuristic[];
}

/** The register's account of one transaction. */
export interface DecisionReport {
  txId: TxId;
  outcome: Outcome;
  participants: string[];
  acknowledged: string[];
  /** Those among the acknowledged where an operator has made the opposite final. */
  heuristic: string[];
  settled: boolean;
  ageMs: number;
}

/** A decision that an operator proposed to the register (rule 2, not heuristic). */
export interface ForcedDecision {
  txId: TxId;
  outcome: Outcome;
  by: string;
  reason: string;
  at: string;
  /** What the register answered; null where the operator never heard. */
  stored: Outcome | "forgotten" | null;
}

/** Everything the register knows of some transactions. */
export interface RegisterReport {
  decisions: DecisionReport[];
  forced: ForcedDecision[];
}

/** A page of txIds that wait for something, oldest first, above `after`. */
export interface Page {
  after: TxId;
  limit: number;
}
