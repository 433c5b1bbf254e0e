/**
 * A participant as others see it: its two phases behind mailboxes, and what its callers hear when work fails. A failed
 * prepare is an error, never a no; a failed commit or abort is `pending`, never an acknowledgement.
 */
import { isError } from "../lib/errors.ts";
import { Inquiries, type InquiryOptions } from "./inquiry.ts";
import type { Mailbox } from "./mailbox.ts";
import type { Participant } from "./participant.ts";
import type { DecisionReply, PrepareEntry, PrepareReply, TxId } from "./protocol/messages.ts";
import type { Supervisor } from "./supervisor.ts";

/** What the mailboxes work with: a Participant, or payment's own, which has the card gateway between two steps. */
export type Votes = Pick<
  Participant<unknown>,
  "prepare" | "commit" | "abort" | "inDoubt" | "raiseSeal" | "prune"
>;

export interface VoterOptions {
  votes: Votes;
  supervisor: Supervisor;
  batchMax: number;
  capacity: number;
  /** Names a failure of the database that a repeat may not meet `unavailable`; passes every other error as it is. */
  unavailable: (err: unknown) => unknown;
  ask: InquiryOptions["ask"];
  alarm: InquiryOptions["alarm"];
}

export class Voter {
  readonly prepares: Mailbox<PrepareEntry, PrepareReply>;
  readonly commits: Mailbox<TxId, DecisionReply>;
  readonly aborts: Mailbox<TxId, DecisionReply>;
  readonly inquiries: Inquiries;

  constructor({ votes, supervisor, batchMax, capacity, unavailable, ask, alarm }: VoterOptions) {
    // One entry's bad data must not sink its batch; a server that is gone concerns them all.
    const isolates = (err: unknown) => !isError(err, "unavailable");
    const phase = <M, R>(name: string, work: (batch: M[]) => Promise<R[]>, inFlightMax: number) =>
      supervisor.mailbox<M, R>({
        name,
        capacity,
        batchMax,
        inFlightMax,
        isolates,
        behaviour: (batch) =>
          work(batch).catch((err) => {
            throw unavailable(err);
          }),
      });
    this.prepares = phase("prepare", (batch) => votes.prepare(batch), 2);
    this.commits = phase("commit", (batch) => votes.commit(batch), 1);
    this.aborts = phase("abort", (batch) => votes.abort(batch), 1);
    this.inquiries = new Inquiries({
      votes,
      supervisor,
      ask,
      alarm,
      settle: (txId, outcome) => (outcome === "commit" ? this.commits : this.aborts).ask(txId),
    });
  }

  prepare(entries: PrepareEntry[]): Promise<PrepareReply[]> {
    return this.prepares.askAll(entries, errorReply, ({ budgetMs }) =>
      budgetMs > 0 ? budgetMs : Number.POSITIVE_INFINITY,
    );
  }

  commit(txIds: TxId[]): Promise<DecisionReply[]> {
    return this.commits.askAll(txIds, notYet);
  }

  abort(txIds: TxId[]): Promise<DecisionReply[]> {
    return this.aborts.askAll(txIds, notYet);
  }
}

const errorReply = (err: unknown): PrepareReply => {
  const { type, message } = err as Error & { type?: string };
  return { kind: "error", code: type ?? "internal_error", message };
};

/** A failed commit or abort is not acknowledged; the manager's recovery, or our own inquiry, brings it again. */
const notYet = (): DecisionReply => "pending";
