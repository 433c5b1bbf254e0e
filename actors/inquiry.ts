/**
 * The inquiry loop of a participant (rule 5): asks the transaction managers about votes in doubt, however long it takes,
 * from the moment of the restart, and carries out what it hears. Nothing here ends a vote by itself: `pending`,
 * `forgotten` and silence change nothing.
 */
import type { DecisionReply, Inquiry, InquiryReply, Outcome, TxId } from "./protocol/messages.ts";
import type { Supervisor } from "./supervisor.ts";

const INTERVAL_MS = 500;
/** A vote younger than this is most likely being decided right now, so nobody asks about it. */
const ASK_AFTER_MS = 1_000;
const PAUSE_MS_MAX = 30_000;
/** Those that are looked at, oldest first: what a few minutes without a register leave behind. */
const LOOKED_AT_MAX = 10_000;
/** Asked about at once. */
const BATCH_MAX = 500;

export interface InquiryOptions {
  votes: { inDoubt(limit: number): Promise<TxId[]> };
  supervisor: Supervisor;
  /** Asks a transaction manager, any one. */
  ask: (inquiries: Inquiry[]) => Promise<InquiryReply[]>;
  /** Carries out an outcome here. */
  settle: (txId: TxId, outcome: Outcome) => Promise<DecisionReply>;
  /** Called for what an operator must look at. */
  alarm: (message: string, detail: object) => void;
}

interface Doubt {
  readonly since: number;
  askAt: number;
  pauseMs: number;
}

export class Inquiries {
  readonly #options: InquiryOptions;
  #doubts = new Map<TxId, Doubt>();

  constructor(options: InquiryOptions) {
    this.#options = options;
    options.supervisor.loop({
      name: "inquiry",
      intervalMs: INTERVAL_MS,
      tick: async () => {
        this.#note(await options.votes.inDoubt(LOOKED_AT_MAX));
        await this.#inquire();
        return false;
      },
    });
  }

  /** What has been in doubt for longer than a decision takes: how many, and since when the oldest is known here. */
  get inDoubt(): { count: number; oldestMs: number } {
    const now = this.#options.supervisor.clock.now();
    const waited = [...this.#doubts.values()]
      .map(({ since }) => now - since)
      .filter((ms) => ms >= ASK_AFTER_MS);
    return { count: waited.length, oldestMs: Math.max(0, ...waited) };
  }

  /** Waiting is counted from the first sight in this incarnation, by a clock that cannot jump. */
  #note(txIds: TxId[]): void {
    const now = this.#options.supervisor.clock.now();
    const before = this.#doubts;
    this.#doubts = new Map(
      txIds.map((txId) => [
        txId,
        before.get(txId) ?? { since: now, askAt: now + ASK_AFTER_MS, pauseMs: INTERVAL_MS },
      ]),
    );
  }

  async #inquire(): Promise<void> {
    const { supervisor } = this.#options;
    const now = supervisor.clock.now();
    const inquiries: Inquiry[] = [];
    for (const [txId, doubt] of this.#doubts) {
      if (doubt.askAt > now) continue;
      inquiries.push({ txId, waitedMs: Math.round(now - doubt.since) });
      // Every tick for the first few seconds, so that a restart settles quickly; then backing off with jitter.
      if (now - doubt.since > 10 * INTERVAL_MS)
        doubt.pauseMs = Math.min(doubt.pauseMs * (1.5 + supervisor.clock.random()), PAUSE_MS_MAX);
      doubt.askAt = now + doubt.pauseMs;
    }
    for (let from = 0; from < inquiries.length; from += BATCH_MAX)
      await this.#ask(inquiries.slice(from, from + BATCH_MAX));
  }

  async #ask(inquiries: Inquiry[]): Promise<void> {
    const { votes, ask, settle, alarm } = this.#options;
    const replies = await ask(inquiries);
    // Or settled here while the question was under way, by another replica, and forgotten rightly.
    const still = new Set(replies.includes("forgotten") ? await votes.inDoubt(LOOKED_AT_MAX) : []);
    await Promise.all(
      inquiries.map(async ({ txId }, i) => {
        const reply = replies[i];
        if (reply === "pending" || reply === undefined) return;
        if (reply === "forgotten") {
          if (still.has(txId)) alarm("a vote in doubt here is forgotten by the register", { txId });
          return;
        }
        if ((await settle(txId, reply)) === "contradiction")
          alarm(`the register says ${reply}, the vote here says the opposite`, { txId });
      }),
    );
  }
}
