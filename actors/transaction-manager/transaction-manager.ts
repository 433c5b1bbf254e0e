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
import type { Mailbox, MailboxOptions } from "../mailbox.ts";
import { Drive } from "../protocol/driver.ts";
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  Outcome,
  PrepareEntry,
  PrepareReply,
  Requests,
  RunResult,
  TxId,
} from "../protocol/messages.ts";
import { requestHash } from "../protocol/request-hash.ts";

export interface Proposal {
  txId: TxId;
  outcome: Outcome;
  participants: readonly string[];
}

export interface Acknowledgement {
  txId: TxId;
  participants: string[];
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

export interface ManagerOptions {
  register: RegisterPort;
  participants: ParticipantPort;
  /** Makes a mailbox that the supervisor drains on stop. */
  mailbox: <M, R>(options: MailboxOptions<M, R>) => Mailbox<M, R>;
  mint: () => TxId;
  now?: () => number;
  sleep?: (ms: number) => Promise<void>;
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

/** NATS refuses messages over 1 MB, and an order may hold 1,000 lines. */
const BATCH_BYTES_MAX = 512 * 1024;
/** How soon a manager asks again after `pending`: a slow card costs ten questions a second at most. */
const ASK_AGAIN_MS = 100;
/** Below this wait nobody writes an abort for an inquiry: longer than prepareMs of any caller, so that a live driver
 *  is not overtaken, and short enough that a restart leaves nothing in doubt for 5 s. Liveness only, never safety. */
export const PRESUME_ABORT_AFTER_MS = 3_500;
/** What nobody waits for (phase two beyond the order, acknowledgements) goes out in batches this far apart. */
const REST_MS = 25;
const BACK_OFF_MS = [20, 50, 100, 250, 500] as const;

interface PrepareMessage {
  txId: TxId;
  hash: string;
  request: unknown;
  bytes: number;
  expiresAt: number;
}

interface ParticipantMailboxes {
  prepare: Mailbox<PrepareMessage, PrepareReply>;
  /** For commits that a caller waits for, and for those that nobody does. */
  commit: Mailbox<TxId, DecisionReply>;
  commitLater: Mailbox<TxId, DecisionReply>;
  abort: Mailbox<TxId, DecisionReply>;
}

export class TransactionManager {
  readonly #options: Required<ManagerOptions>;
  readonly #mailboxes = new Map<string, ParticipantMailboxes>();
  readonly #decisions: Mailbox<Proposal, Outcome | "forgotten">;
  readonly #reads: Mailbox<TxId, Outcome | "forgotten" | undefined>;
  readonly #acknowledgements: Mailbox<Acknowledgement, true>;
  /** Transactions this incarnation drives: the answer to an inquiry about them is `pending`. */
  readonly #live = new Set<TxId>();
  /** Phase two that nobody waits for, until it is acknowledged or given to recovery. */
  readonly #unfinished = new Set<Promise<void>>();

  constructor(options: ManagerOptions) {
    this.#options = {
      now: () => performance.now(),
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      batchMax: 256,
      capacity: 2_000,
      ...options,
    };
    const { register, mailbox, batchMax, capacity } = this.#options;
    this.#decisions = mailbox({
      name: "decide",
      capacity,
      batchMax,
      behaviour: (batch) => register.decide(batch),
    });
    this.#reads = mailbox({ name: "read", capacity, batchMax, behaviour: (batch) => register.read(batch) });
    this.#acknowledgements = mailbox({
      name: "acknowledge",
      capacity: capacity * 4,
      batchMax: batchMax * 4,
      restMs: REST_MS,
      behaviour: async (batch) => {
        await register.acknowledge(batch);
        return batch.map(() => true);
      },
    });
  }

  /**
   * Runs one transaction over the enlisted participants (the keys of `requests`, at least one). Mints the txId
   * itself; must never be retried by a middleware. Answers a value for every outcome; rejects only for a caller's
   * mistake or `overloaded`, when nothing was done.
   */
  async run(requests: Requests, options: RunOptions): Promise<RunResult> {
    const enlisted = Object.keys(requests);
    if (enlisted.length === 0) throw new ShopError("internal_error", "run needs at least one participant");
    const drive = new Drive(this.#options.mint(), enlisted);
    const answerBy = this.#options.now() + options.answerMs;
    this.#live.add(drive.txId);
    try {
      await this.#collectVotes(drive, requests, options.prepareMs);
      const decision = await this.#decide(drive, answerBy);
      if (decision === "unknown") return { outcome: "unknown", txId: drive.txId, prepared: drive.prepared };
      if (decision === "abort") {
        await this.#abort(drive);
        return { outcome: "abort", txId: drive.txId, refusals: drive.refusals, failures: drive.failures };
      }
      const durable = await this.#commit(drive, options.durableAt, answerBy);
      return { outcome: "commit", txId: drive.txId, durable };
    } finally {
      this.#live.delete(drive.txId);
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
    const commits = await this.#options.register.unacknowledged(ageMs, limit);
    const results = await Promise.all(
      commits.map(async ({ txId, participants }) => {
        const done = await Promise.all(
          participants.map((participant) => this.#deliverCommit(participant, txId, false)),
        );
        const acknowledged = participants.filter((_, i) => done[i]);
        if (acknowledged.length > 0) await this.#acknowledgements.ask({ txId, participants: acknowledged });
        return acknowledged.length;
      }),
    );
    return commits.length === limit && results.some((acknowledged) => acknowledged > 0);
  }

  /** Resolves at the first no, or when every participant has answered or run out of time. */
  #collectVotes(drive: Drive, requests: Requests, prepareMs: number): Promise<void> {
    const expiresAt = this.#options.now() + prepareMs;
    let missing = drive.enlisted.length;
    return new Promise((resolve) => {
      for (const participant of drive.enlisted) {
        const json = JSON.stringify(requests[participant]);
        const message = {
          txId: drive.txId,
          hash: requestHash(json),
          request: requests[participant],
          bytes: json.length,
          expiresAt,
        };
        void this.#prepare(participant, message)
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

  /** Asks for a vote until there is one or the time is up. Repeating a prepare is safe: the recorded vote answers. */
  async #prepare(participant: string, message: PrepareMessage): Promise<PrepareReply> {
    const { now, sleep } = this.#options;
    for (let failures = 0; ; ) {
      try {
        const reply = await this.#of(participant).prepare.ask(message, message.expiresAt - now());
        if (reply.kind === "error" && reply.code === "unavailable")
          throw new ShopError("unavailable", reply.message);
        if (reply.kind !== "pending" || now() + ASK_AGAIN_MS >= message.expiresAt) return reply;
        await sleep(ASK_AGAIN_MS);
      } catch (err) {
        const pause = BACK_OFF_MS[failures++] ?? Number.POSITIVE_INFINITY;
        if ((err as ShopError).type !== "unavailable" || now() + pause >= message.expiresAt) throw err;
        await sleep(pause);
      }
    }
  }

  /** The stored outcome, or `unknown` when the register could not be reached in time. */
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
        const pause = BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)] as number;
        if (this.#options.now() + pause >= answerBy) return "unknown";
        await this.#options.sleep(pause);
      }
    }
  }

  /** Commits everywhere; resolves with those of `durableAt` that have, as soon as all have or the time is up. */
  async #commit(drive: Drive, durableAt: readonly string[], answerBy: number): Promise<string[]> {
    const { now, sleep } = this.#options;
    const delivered = drive.enlisted.map(async (participant) => {
      const awaited = durableAt.includes(participant);
      let done = await this.#deliverCommit(participant, drive.txId, awaited);
      for (let failures = 0; !done && awaited; failures++) {
        const pause = BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)] as number;
        if (now() + pause >= answerBy) break;
        await sleep(pause);
        done = await this.#deliverCommit(participant, drive.txId, awaited);
      }
      return done ? participant : undefined;
    });
    this.#finishLater(drive.txId, delivered);
    const durable = await Promise.all(
      delivered.filter((_, i) => durableAt.includes(drive.enlisted[i] as string)),
    );
    return durable.filter((participant) => participant !== undefined);
  }

  #finishLater(txId: TxId, delivered: Promise<string | undefined>[]): void {
    const finished = Promise.all(delivered)
      .then(async (participants) => {
        const acknowledged = participants.filter((participant) => participant !== undefined);
        if (acknowledged.length > 0) await this.#acknowledgements.ask({ txId, participants: acknowledged });
      })
      // What could not be marked is found, and driven again, by recovery.
      .catch(() => undefined)
      .finally(() => this.#unfinished.delete(finished));
    this.#unfinished.add(finished);
  }

  /** Resolves when every commit that was under way is acknowledged or given up. Mailboxes must still be open. */
  async settle(): Promise<void> {
    while (this.#unfinished.size > 0) await Promise.all(this.#unfinished);
  }

  /** True when the participant has acknowledged. Failures are recovery's business, contradictions an operator's. */
  async #deliverCommit(participant: string, txId: TxId, awaited: boolean): Promise<boolean> {
    const mailboxes = this.#of(participant);
    try {
      const reply = await (awaited ? mailboxes.commit : mailboxes.commitLater).ask(txId);
      if (reply === "contradiction" || reply === "unknown" || reply === "forgotten")
        this.#options.alarm(`${participant} answered ${reply} to a commit that is decided`, {
          txId,
          participant,
        });
      return reply === "done";
    } catch {
      return false;
    }
  }

  /** Tells everybody and waits for the answers, because after a refusal the client may count on what is released. A
   *  participant that cannot be reached asks for the outcome by itself. */
  async #abort(drive: Drive): Promise<void> {
    const told = drive.enlisted.map(async (participant) => {
      const reply = await this.#of(participant).abort.ask(drive.txId);
      if (reply === "contradiction")
        this.#options.alarm(`${participant} had committed what is aborted`, {
          txId: drive.txId,
          participant,
        });
    });
    await Promise.allSettled(told);
  }

  #of(participant: string): ParticipantMailboxes {
    let mailboxes = this.#mailboxes.get(participant);
    if (!mailboxes) {
      mailboxes = this.#makeMailboxes(participant);
      this.#mailboxes.set(participant, mailboxes);
    }
    return mailboxes;
  }

  #makeMailboxes(participant: string): ParticipantMailboxes {
    const { mailbox, participants, batchMax, capacity, now } = this.#options;
    const commit = (batch: TxId[]) => participants.commit(participant, batch);
    return {
      prepare: mailbox({
        name: `prepare:${participant}`,
        capacity,
        batchMax,
        batchBytesMax: BATCH_BYTES_MAX,
        bytesOf: (message) => message.bytes,
        inFlightMax: 2,
        behaviour: (batch) => {
          const at = now();
          return participants.prepare(
            participant,
            batch.map(({ txId, hash, request, expiresAt }) => ({
              txId,
              hash,
              request,
              budgetMs: expiresAt - at,
            })),
          );
        },
      }),
      // Phase two is never refused for want of room: what was promised is carried out.
      commit: mailbox({
        name: `commit:${participant}`,
        capacity: Number.POSITIVE_INFINITY,
        batchMax,
        behaviour: commit,
      }),
      commitLater: mailbox({
        name: `commit-later:${participant}`,
        capacity: Number.POSITIVE_INFINITY,
        batchMax: batchMax * 2,
        restMs: REST_MS,
        behaviour: commit,
      }),
      abort: mailbox({
        name: `abort:${participant}`,
        capacity: Number.POSITIVE_INFINITY,
        batchMax,
        behaviour: (batch) => participants.abort(participant, batch),
      }),
    };
  }
}
