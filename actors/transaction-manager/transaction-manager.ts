/**
 * The transaction manager: drives transactions through two-phase commit, presumed abort, with a write-once decision
 * register. It holds nothing that matters: a manager that dies is replaced by recovery (commits) and inquiry (the
 * rest), and any number of managers may drive, recover and answer side by side, because the register's first writer
 * wins and everybody follows what is stored.
 *
 * One mailbox per (participant, phase) and one for the register, so `run` reads like the textbook while disks and the
 * network see batches. Ports keep it free of I/O: the service wires SQL and the broker, the simulator wires faults.
 */
import { ShopError } from "../../lib/errors.ts";
import { realClock } from "../clock.ts";
import type { Mailbox } from "../mailbox.ts";
import { Drive } from "../protocol/driver.ts";
import type {
  Inquiry,
  InquiryReply,
  Outcome,
  PrepareReply,
  Requests,
  RunResult,
  TxId,
} from "../protocol/messages.ts";
import { requestHash } from "../protocol/request-hash.ts";
import { Enrolment, registerUnavailable } from "./enrolment.ts";
import {
  type ParticipantMailboxes,
  type PrepareMessage,
  participantMailboxes,
} from "./participant-mailboxes.ts";
import { BACK_OFF_MS, backOffMs, Patience } from "./patience.ts";
import { type Delivery, PhaseTwo } from "./phase-two.ts";
import type { ManagerOptions, Proposal, RunOptions, UnacknowledgedCommit } from "./ports.ts";

/** Until when one run does what. */
interface Terms {
  patience: Patience;
  prepareBy: number;
  answerBy: number;
  durableAt: readonly string[];
}

/** A second txId is above every seal there was when it was minted; one more, because seals go on being raised. */
const ATTEMPTS_MAX = 3;
/** How soon a manager asks again after `pending`: soon at first, then four times a second per slow card. */
const ASK_AGAIN_MS = [50, 100, 250] as const;
/** Below this wait nobody writes an abort for an inquiry: longer than prepareMs of any caller, so that a live driver
 *  is not overtaken, and short enough that a restart leaves nothing in doubt for 5 s. Liveness only, never safety. */
export const PRESUME_ABORT_AFTER_MS = 3_500;
/** For how long an abort is told to who does not answer it: a lost connection is over by then, and a participant that is
 *  away keeps nobody waiting for longer. */
const RELEASE_MS = 1_000;
/** How long an operator waits for a forced commit to arrive; recovery brings what is late. */
const FORCE_MS = 2_000;

export class TransactionManager {
  readonly #options: Required<ManagerOptions>;
  readonly #of: (participant: string) => ParticipantMailboxes;
  readonly #phaseTwo: PhaseTwo;
  readonly #decisions: Mailbox<Proposal, Outcome | "forgotten">;
  readonly #reads: Mailbox<TxId, Outcome | "forgotten" | undefined>;
  /** Transactions this incarnation drives: the answer to an inquiry about them is `pending`. */
  readonly #live = new Set<TxId>();
  readonly #enrolment: Enrolment;
  /** The highest watermark or seal heard of: nothing is minted at or below it. */
  #floor: TxId = "";
  /** Decisions and phase two that nobody waits for, until they are carried out or given to recovery. */
  readonly #unfinished = new Set<Promise<void>>();
  #recoveredUpTo: UnacknowledgedCommit | undefined;
  #isStopping = false;

  constructor(options: ManagerOptions) {
    this.#options = {
      clock: realClock,
      batchMax: 256,
      capacity: 2_000,
      ...options,
    };
    const { register, mailbox, batchMax, capacity } = this.#options;
    this.#enrolment = new Enrolment(register, (watermark) => this.learn(watermark));
    this.#decisions = mailbox({
      name: "decide",
      capacity,
      batchMax,
      behaviour: (batch) => register.decide(batch),
    });
    this.#reads = mailbox({ name: "read", capacity, batchMax, behaviour: (batch) => register.read(batch) });
    this.#of = participantMailboxes(this.#options);
    this.#phaseTwo = new PhaseTwo(this.#options, this.#of);
  }

  /**
   * Runs one transaction over the enlisted participants (the keys of `requests`, at least one). Mints the txId
   * itself; must never be retried by a middleware. Answers a value for every outcome, by `answerMs` whoever is silent;
   * rejects only for a caller's mistake, `overloaded` or `unavailable`, when nothing was done.
   */
  async run(requests: Requests, options: RunOptions): Promise<RunResult> {
    const enlisted = Object.keys(requests);
    if (enlisted.length === 0) throw new ShopError("internal_error", "run needs at least one participant");
    const { clock, mint } = this.#options;
    const startedAt = clock.now();
    const terms: Terms = {
      patience: new Patience(options.prepareMs, options.answerMs, clock),
      prepareBy: startedAt + options.prepareMs,
      answerBy: startedAt + options.answerMs,
      durableAt: options.durableAt,
    };
    try {
      if (!this.#enrolment.has(enlisted) && !(await terms.patience.first(this.#enrolment.add(enlisted))))
        throw registerUnavailable("did not answer in time");
      for (let attempt = 1; ; attempt++) {
        const drive = new Drive(mint(this.#floor), enlisted);
        const result = await this.#run(drive, requests, terms);
        if (!drive.failures.some((failure) => failure.code === "forgotten")) return result;
        // This clock is behind: the txId stands below a seal that the register knows of.
        const limits = await terms.patience.whole(this.#options.register.limits().catch(() => undefined));
        if (limits) this.learn(limits.highest);
        // Where all have sealed it, nobody has a record of it or can make one, and no commit was proposed here: as if it
        // had never been.
        if (!limits || !drive.isForgotten || result.outcome === "commit") return result;
        if (attempt === ATTEMPTS_MAX || clock.now() >= terms.prepareBy) return result;
      }
    } finally {
      terms.patience.end();
    }
  }

  /** Nothing is minted at or below `txId` from now on. */
  learn(txId: TxId): void {
    if (txId > this.#floor) this.#floor = txId;
  }

  /** Runs one transaction under its txId. */
  async #run(drive: Drive, requests: Requests, terms: Terms): Promise<RunResult> {
    const { txId, enlisted } = drive;
    const { patience, answerBy } = terms;
    let isLeftToItself = false;
    this.#live.add(txId);
    try {
      // Looked at in the same turn of the event loop in which the messages are sent, so nothing comes between.
      const isRefused = enlisted.every(
        (name) => this.#of(name).prepare.stats.depth >= this.#options.capacity,
      );
      await patience.first(this.#collectVotes(drive, requests, terms.prepareBy));
      if (isRefused)
        throw new ShopError("overloaded", "Every participant's mailbox is full; try again later.", {
          retryAfter: 1,
        });
      drive.close();

      const deciding = this.#decide(drive, answerBy);
      const decision = await patience.whole(deciding);
      if (decision === undefined) {
        isLeftToItself = true;
        this.#track(this.#followLate(drive, deciding));
      }
      if (decision === undefined || decision === "unknown")
        return { outcome: "unknown", txId, prepared: drive.prepared };

      if (decision === "abort") {
        const { refusals, failures } = drive;
        const until = drive.refused ? Math.min(answerBy, this.#options.clock.now() + RELEASE_MS) : 0;
        const released = await patience.whole(this.#phaseTwo.abort(drive, until));
        return { outcome: "abort", txId, refusals, failures, released: released === true };
      }
      const { durable, awaited } = this.#commit(drive, terms.durableAt, answerBy);
      await patience.whole(awaited);
      return { outcome: "commit", txId, durable: [...durable] };
    } finally {
      if (!isLeftToItself) this.#live.delete(txId);
    }
  }

  /** Answers participants in doubt (rule 3). Absence is an answer only once an abort for it is stored. */
  async outcome(inquiries: Inquiry[]): Promise<InquiryReply[]> {
    return Promise.all(
      inquiries.map(async ({ txId, waitedMs }): Promise<InquiryReply> => {
        const stored = await this.#reads.ask(txId);
        if (stored) return stored;
        if (this.#live.has(txId) || waitedMs < PRESUME_ABORT_AFTER_MS) return "pending";
        return this.#decisions.ask({ txId, outcome: "abort", participants: [] });
      }),
    );
  }

  /** Re-drives commits that lack an acknowledgement (rule 6). Answers true where more are waiting. */
  async recover(ageMs: number, limit = 500): Promise<boolean> {
    // Page after page, then from the beginning: what somebody cannot acknowledge must not keep the others from it.
    const commits = await this.#options.register.unacknowledged(ageMs, limit, this.#recoveredUpTo);
    this.#recoveredUpTo = commits.length === limit ? commits.at(-1) : undefined;
    const acknowledged = await Promise.all(
      commits.map(({ txId, participants }) => this.#phaseTwo.repeat(txId, participants)),
    );
    return commits.length === limit && acknowledged.some((count) => count > 0);
  }

  /**
   * An operator's decision: proposed like any other (rule 2), so the first writer wins and what is stored is answered.
   * Where it is this one it is carried out, as far as it can be now. The caller knows that no vote speaks against it.
   */
  async force(proposal: Proposal): Promise<Outcome | "forgotten"> {
    const stored = await this.#decisions.ask(proposal);
    const drive = new Drive(proposal.txId, proposal.participants);
    if (stored !== proposal.outcome) return stored;
    if (stored === "commit")
      await this.#commit(drive, proposal.participants, this.#options.clock.now() + FORCE_MS).awaited;
    else await this.#phaseTwo.abort(drive, 0);
    return stored;
  }

  /** Resolves at the first no, or when every participant has answered or failed. */
  #collectVotes(drive: Drive, requests: Requests, expiresAt: number): Promise<void> {
    let missing = drive.enlisted.length;
    return new Promise((resolve) => {
      for (const participant of drive.enlisted) {
        const json = JSON.stringify(requests[participant]);
        const message = {
          txId: drive.txId,
          hash: requestHash(json),
          participants: drive.enlisted,
          request: requests[participant],
          bytes: json.length,
          expiresAt,
        };
        void this.#prepare(drive, participant, message)
          .then(
            (reply) => drive.receive(participant, reply),
            (err: Error & { type?: string }) =>
              drive.fail(participant, err.type ?? "internal_error", err.message),
          )
          .then(() => {
            if (--missing === 0 || drive.refused) resolve();
          });
      }
    });
  }

  /** Asks for a vote until there is one, none counts any more, or the time is up. Repeating a prepare is safe: the
   *  recorded vote answers. One that comes after an abort which found nobody would hold a card for nothing. */
  async #prepare(drive: Drive, participant: string, message: PrepareMessage): Promise<PrepareReply> {
    const { clock } = this.#options;
    const mayRepeatAfter = async (pauseMs = Number.POSITIVE_INFINITY) => {
      if (drive.isClosed || clock.now() + pauseMs >= message.expiresAt) return false;
      await clock.sleep(pauseMs);
      return !drive.isClosed;
    };
    for (let failures = 0, asked = 0; ; ) {
      try {
        const reply = await this.#of(participant).prepare.ask(message, message.expiresAt - clock.now());
        if (reply.kind === "error" && reply.code === "unavailable")
          throw new ShopError("unavailable", reply.message);
        if (reply.kind !== "pending") return reply;
        if (!(await mayRepeatAfter(ASK_AGAIN_MS[Math.min(asked++, ASK_AGAIN_MS.length - 1)]))) return reply;
      } catch (err) {
        if ((err as ShopError).type !== "unavailable" || !(await mayRepeatAfter(BACK_OFF_MS[failures++])))
          throw err;
      }
    }
  }

  /** The stored outcome, however long that takes. `unknown` where it is forgotten, or where a stop ends the asking. */
  async #decide(drive: Drive, answerBy: number): Promise<Outcome | "unknown"> {
    const verdict = drive.verdict();
    if (verdict === "abort") return "abort";
    const proposal: Proposal = {
      txId: drive.txId,
      outcome: verdict === "commit" ? "commit" : "abort",
      participants: drive.enlisted,
    };
    for (let failures = 0; ; failures++) {
      try {
        const stored = await this.#decisions.ask(proposal);
        return stored === "forgotten" ? "unknown" : stored;
      } catch {
        // The answer is lost, perhaps not the INSERT: repeat both, never only read.
        await this.#options.clock.sleep(backOffMs(failures));
        if (this.#isStopping && this.#options.clock.now() >= answerBy) return "unknown";
      }
    }
  }

  /** Phase two of a decision that came after the caller's answer. Until it comes, an inquiry is answered `pending`. */
  async #followLate(drive: Drive, deciding: Promise<Outcome | "unknown">): Promise<void> {
    try {
      const decision = await deciding;
      if (decision === "commit") this.#commit(drive, [], 0);
      else if (decision === "abort") await this.#phaseTwo.abort(drive, 0);
    } finally {
      this.#live.delete(drive.txId);
    }
  }

  #commit(drive: Drive, durableAt: readonly string[], answerBy: number): Delivery {
    const delivery = this.#phaseTwo.commit(drive, durableAt, answerBy);
    this.#track(delivery.acknowledged);
    return delivery;
  }

  /** Keeps work that no caller waits for in sight. What fails of it is found, and driven again, by recovery. */
  #track(work: Promise<unknown>): void {
    const finished = work.catch(() => undefined).then(() => void this.#unfinished.delete(finished));
    this.#unfinished.add(finished);
  }

  /** Before a stop: resolves when every decision and commit under way is carried out or given up. Mailboxes must still
   *  be open; a register that cannot be reached is asked once more and then left to inquiry and recovery. */
  async settle(): Promise<void> {
    this.#isStopping = true;
    while (this.#unfinished.size > 0) await Promise.all(this.#unfinished);
  }
}
