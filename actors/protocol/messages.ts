/**
 * Every message of the commit protocol, in one place. All of them are plain JSON, because they travel between nodes;
 * none of them carries a clock reading, because clocks lie: time travels as a budget in milliseconds.
 */

/** UUIDv7 of a transaction, lower case, so that string order is the order of the databases' uuid type. */
export type TxId = string;

export type Outcome = "commit" | "abort";

/** Manager → participant. `request` is the participant's own business; `hash` identifies it. */
export interface PrepareEntry<Request = unknown> {
  txId: TxId;
  hash: string;
  /** How long from receipt a first vote may take, in milliseconds; at or below 0 there is no time left. */
  budgetMs: number;
  /** Everybody enlisted. A vote that records it tells an operator whose yes a commit needs. */
  participants?: readonly string[];
  request: Request;
}

/** Why a participant votes no: a stable code of lib/errors.ts or of the participant, and what the client may see. */
export interface Refusal {
  reason: string;
  detail?: Record<string, unknown>;
}

/**
 * Participant → manager. Only `yes` and `no` are votes, and both are durable when they are sent.
 * `pending`: work goes on (a slow card), ask again. `conflict`: this txId came with another request before.
 * `forgotten`: at or below the participant's seal, where no record can be made any more. `error`: this entry failed.
 */
export type PrepareReply =
  | { kind: "yes" }
  | ({ kind: "no" } & Refusal)
  | { kind: "pending" }
  | { kind: "conflict" }
  | { kind: "forgotten" }
  | { kind: "error"; code: string; message: string };

/**
 * Answers to commit and abort. `done` is the acknowledgement; `pending` is not yet one. `contradiction`: the opposite
 * is already final here, nothing was changed, an operator must look. `unknown`: a commit for which no vote is
 * recorded. `forgotten` never counts as an acknowledgement of commit. `heuristic`: an operator has made the opposite
 * final here and answers for it (rule 8); it ends the driving, and never says that the outcome holds.
 */
export type DecisionReply = "done" | "pending" | "contradiction" | "heuristic" | "unknown" | "forgotten";

/** Participant → manager, about a vote in doubt. `waitedMs` is monotonic, since the vote or since the restart. */
export interface Inquiry {
  txId: TxId;
  waitedMs: number;
}

export type InquiryReply = Outcome | "pending" | "forgotten";

/** What a caller of `run` enlists: for each participant its request. */
export type Requests = Readonly<Record<string, unknown>>;

/** A no of one participant, as `run` reports it. */
export interface ReportedRefusal extends Refusal {
  participant: string;
}

/** A participant that gave no vote: what went wrong, as code and message. */
export interface Failure {
  participant: string;
  code: string;
  message: string;
}

/**
 * The result of `run`, always a value. `durable`: the participants whose commit is known to be durable.
 * `released`: whoever did not refuse has answered the abort, so nothing is held any more; insisted on after a refusal alone.
 * `unknown`: no outcome could be learned in time; `prepared` voted yes and will learn it by themselves.
 */
export type RunResult =
  | { outcome: "commit"; txId: TxId; durable: string[] }
  | { outcome: "abort"; txId: TxId; refusals: ReportedRefusal[]; failures: Failure[]; released: boolean }
  | { outcome: "unknown"; txId: TxId; prepared: string[] };
