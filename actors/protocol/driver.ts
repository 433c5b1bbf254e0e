/**
 * What the driver of one transaction knows and may conclude. Pure: no I/O, no clock.
 *
 * The invariant: a commit is proposed only with a recorded yes from exactly the enlisted set, and at least one is
 * enlisted. Nothing here is durable; the decision register is the only truth, and a driver that dies is replaced by
 * recovery and inquiry.
 */
import type { Failure, PrepareReply, ReportedRefusal, TxId } from "./messages.ts";

/**
 * `commit`: propose commit to the register. `abort`: a recorded no was seen and no commit was ever proposed, so the
 * outcome can only be abort and needs no record (presumed abort). `propose-abort`: votes are missing; an abort must be
 * written before it is believed, because a rival may already have decided otherwise.
 */
export type Verdict = "commit" | "abort" | "propose-abort";

export class Drive {
  readonly txId: TxId;
  readonly enlisted: readonly string[];
  readonly #yes = new Set<string>();
  #isClosed = false;
  readonly refusals: ReportedRefusal[] = [];
  readonly failures: Failure[] = [];

  constructor(txId: TxId, enlisted: readonly string[]) {
    this.txId = txId;
    this.enlisted = enlisted;
  }

  /** Counts a reply. Replies of strangers, and every one after a participant's first vote, are ignored. */
  receive(participant: string, reply: PrepareReply): void {
    if (this.#isClosed || !this.enlisted.includes(participant) || this.#voted(participant)) return;
    if (reply.kind === "yes") this.#yes.add(participant);
    else if (reply.kind === "no")
      this.refusals.push({ participant, reason: reply.reason, detail: reply.detail });
    else if (reply.kind === "error") this.fail(participant, reply.code, reply.message);
    else this.fail(participant, reply.kind, `${participant} answered ${reply.kind} instead of a vote`);
  }

  /** Notes that a participant gave no vote, and the first reason for it. An error is not a no. */
  fail(participant: string, code: string, message: string): void {
    if (this.#isClosed || this.failures.some((failure) => failure.participant === participant)) return;
    this.failures.push({ participant, code, message });
  }

  /** Ends the collection. Without a no, whoever has neither voted nor failed is late. What comes afterwards is ignored,
   *  such as the no of a participant that the abort overtook: it is not why the transaction was aborted. */
  close(): void {
    if (!this.refused)
      for (const participant of this.enlisted)
        if (!this.#voted(participant))
          this.fail(participant, "deadline_exceeded", `${participant} did not vote in time`);
    this.#isClosed = true;
  }

  /** True once no vote counts any more: nobody needs to be asked for one. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  get prepared(): string[] {
    return [...this.#yes];
  }

  /** True as soon as waiting for the other votes cannot change the verdict. */
  get refused(): boolean {
    return this.refusals.length > 0;
  }

  /** True where all refused because the txId is sealed: nobody has a record of it, and nobody can make one. */
  get isForgotten(): boolean {
    return (
      !this.refused &&
      this.#yes.size === 0 &&
      this.enlisted.every((participant) =>
        this.failures.some((failure) => failure.participant === participant && failure.code === "forgotten"),
      )
    );
  }

  verdict(): Verdict {
    if (this.refused) return "abort";
    return this.enlisted.length > 0 && this.#yes.size === this.enlisted.length ? "commit" : "propose-abort";
  }

  #voted(participant: string): boolean {
    return this.#yes.has(participant) || this.refusals.some((refusal) => refusal.participant === participant);
  }
}
