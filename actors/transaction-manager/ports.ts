/** What the transaction manager needs of the world: the register and the participants, in batches; and its options. */
import type { Clock } from "../clock.ts";
import type { Mailbox, MailboxOptions } from "../mailbox.ts";
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
  /** As the register writes it. */
  decidedAt: string;
}

export interface RegisterPort {
  /** INSERT the batch, then read it back: the stored outcomes, `forgotten` where there is none. Repeatable. */
  decide(proposals: Proposal[]): Promise<(Outcome | "forgotten")[]>;
  /** The stored outcomes; undefined where nobody has decided, `forgotten` below the watermark. */
  read(txIds: TxId[]): Promise<(Outcome | "forgotten" | undefined)[]>;
  acknowledge(acknowledgements: Acknowledgement[]): Promise<void>;
  /** Commits that some participant has not acknowledged, oldest first, decided more than `ageMs` ago and later than `after`. */
  unacknowledged(ageMs: number, limit: number, after?: UnacknowledgedCommit): Promise<UnacknowledgedCommit[]>;

  /** Notes who is about to be enlisted for the first time, excluded by `raiseWatermark`. Answers the watermark. Repeatable. */
  enrol(participants: readonly string[]): Promise<TxId>;
  /** Everybody who was ever enrolled: those whose seal a watermark needs. */
  participants(): Promise<string[]>;
  limits(): Promise<Limits>;
  /**
   * A txId that the watermark may be raised to as far as the register knows: the highest of the `window` decided ones
   * next above the watermark such that it and every one below it is settled, and decided longer than `ageMs` ago.
   */
  candidate(ageMs: number, window: number): Promise<TxId | undefined>;
  /**
   * In one transaction that excludes decisions: raises the watermark to `upTo`, unless an unsettled commit stands at
   * or below it or somebody is enrolled who is not among `sealed`. Never lowers it. Answers the watermark as it is now.
   */
  raiseWatermark(upTo: TxId, sealed: readonly string[]): Promise<TxId>;
  /** Deletes decisions at or below the watermark, at most `limit`, lowest first; answers how many. */
  prune(limit: number): Promise<number>;
}

export interface Limits {
  /** At or below it nothing may be decided any more. */
  watermark: TxId;
  /** The highest txId that was ever decided and may be a seal: nobody's seal and no watermark stands above it. */
  highest: TxId;
}

export interface ParticipantPort {
  prepare(participant: string, entries: PrepareEntry[]): Promise<PrepareReply[]>;
  commit(participant: string, txIds: TxId[]): Promise<DecisionReply[]>;
  abort(participant: string, txIds: TxId[]): Promise<DecisionReply[]>;
  /** Raises the participant's seal to `upTo` if nothing at or below it is in doubt there; answers its seal. */
  raiseSeal(participant: string, upTo: TxId): Promise<TxId>;
  /** Has it delete final votes at or below the managers' watermark, at most `limit`; answers how many. */
  prune(participant: string, watermark: TxId, limit: number): Promise<number>;
}

export interface ManagerOptions {
  register: RegisterPort;
  participants: ParticipantPort;
  /** Makes a mailbox that the supervisor drains on stop. */
  mailbox: <M, R>(options: MailboxOptions<M, R>) => Mailbox<M, R>;
  /** A new txId above `floor`, whatever the clock says, and above all that were minted here before. */
  mint: (floor: TxId) => TxId;
  clock?: Clock;
  /** Called for what an operator must look at. */
  alarm: (message: string, detail: object) => void;
  batchMax?: number;
  capacity?: number;
}

export interface RunOptions {
  /** Time for all votes, from now, in milliseconds. */
  prepareMs: number;
  /** Time for the whole run to answer; the transaction itself goes on until it is decided. */
  answerMs: number;
  /** `run` answers commit when these have committed durably; the others may still be re-driven. */
  durableAt: readonly string[];
}
