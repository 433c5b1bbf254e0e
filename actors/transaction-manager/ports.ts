/** What the transaction manager needs of the world: the register and the participants, in batches. */
import type { DecisionReply, Outcome, PrepareEntry, PrepareReply, TxId } from "../protocol/messages.ts";

export interface Proposal {
  txId: TxId;
  outcome: Outcome;
  participants: readonly string[];
}

export interface Acknowledgement {
  txId: TxId;
  /** Those that need not be told again. */
  participants: string[];
  /** Those among them where an operator has made the opposite final. */
  heuristic?: string[];
}

export interface UnacknowledgedCommit {
  txId: TxId;
  participants: string[];
}

export interface RegisterPort {
  /** INSERT the batch, then read it back: the stored outcomes, `forgotten` where there is none. Repeatable. */
  decide(proposals: Proposal[]): Promise<(Outcome | "forgotten")[]>;
  /** The stored outcomes; undefined where nobody has decided, `forgotten` below the watermark. */
  read(txIds: TxId[]): Promise<(Outcome | "forgotten" | undefined)[]>;
  acknowledge(acknowledgements: Acknowledgement[]): Promise<void>;
  /** Commits that some participant has not acknowledged, oldest first, decided more than `ageMs` ago. */
  unacknowledged(ageMs: number, limit: number): Promise<UnacknowledgedCommit[]>;
}

export interface ParticipantPort {
  prepare(participant: string, entries: PrepareEntry[]): Promise<PrepareReply[]>;
  commit(participant: string, txIds: TxId[]): Promise<DecisionReply[]>;
  abort(participant: string, txIds: TxId[]): Promise<DecisionReply[]>;
}
