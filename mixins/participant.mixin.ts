/**
 * Makes a service a participant of the commit protocol: the actions `prepare`, `commit` and `abort` for batches, each
 * behind a mailbox, and the inquiry loop for votes in doubt. Only transaction managers call the actions; they trust
 * the decision, whoever brings it.
 */
import type { Context, ServiceSchema } from "moleculer";
import type { Participant } from "../actors/participant.ts";
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  PrepareEntry,
  PrepareReply,
  TxId,
} from "../actors/protocol/messages.ts";
import type { Supervisor } from "../actors/supervisor.ts";
import { config } from "../config/index.ts";
import { isError } from "../lib/errors.ts";
import { actorsMixin } from "./actors.mixin.ts";
import { type Database, unavailable } from "./database.mixin.ts";

const INQUIRY_INTERVAL_MS = 500;
/** A vote younger than this is most likely being decided right now, so nobody asks about it. */
const INQUIRY_AFTER_MS = 1_000;
const INQUIRY_PAUSE_MS_MAX = 30_000;
const INQUIRY_BATCH_MAX = 500;

interface Doubt {
  readonly since: number;
  askAt: number;
  pauseMs: number;
}

/** What the mailboxes work with: a Participant, or payment's own, which has the card gateway between two steps. */
export type Votes = Pick<Participant<unknown>, "prepare" | "commit" | "abort" | "inDoubt">;

export function participantMixin(
  participant: (service: { db: Database; supervisor: Supervisor }) => Votes,
): Partial<ServiceSchema> {
  return {
    mixins: [actorsMixin],
    actions: {
      // Managers repeat these themselves, by the protocol's rules.
      prepare: {
        visibility: "public",
        retry: false,
        params: { entries: { type: "array", min: 1 } },
        handler(ctx: Context<{ entries: PrepareEntry[] }>): Promise<PrepareReply[]> {
          return Promise.all(
            ctx.params.entries.map((entry) =>
              this.prepares.ask(entry, entry.budgetMs > 0 ? entry.budgetMs : undefined).catch(errorReply),
            ),
          );
        },
      },
      commit: {
        visibility: "public",
        retry: false,
        params: { txIds: { type: "array", min: 1, items: "string" } },
        handler(ctx: Context<{ txIds: TxId[] }>): Promise<DecisionReply[]> {
          return Promise.all(ctx.params.txIds.map((txId) => this.commits.ask(txId).catch(notYet)));
        },
      },
      abort: {
        visibility: "public",
        retry: false,
        params: { txIds: { type: "array", min: 1, items: "string" } },
        handler(ctx: Context<{ txIds: TxId[] }>): Promise<DecisionReply[]> {
          return Promise.all(ctx.params.txIds.map((txId) => this.aborts.ask(txId).catch(notYet)));
        },
      },
    },

    created() {
      this.doubts = new Map<TxId, Doubt>();
    },

    async started() {
      const votes = participant(this as unknown as { db: Database; supervisor: Supervisor });
      const { batchMax, mailboxCapacity: capacity } = config;
      // One entry's bad data must not sink its batch; a server that is gone concerns them all.
      const isolates = (err: unknown) => !isError(err, "unavailable");
      const reached = <M, R>(work: (batch: M[]) => Promise<R>) => {
        return (batch: M[]) =>
          work(batch).catch((err) => {
            throw unavailable(err);
          });
      };
      const phase = <M, R>(name: string, behaviour: (batch: M[]) => Promise<R[]>, inFlightMax: number) =>
        this.supervisor.mailbox({
          name,
          capacity,
          batchMax,
          inFlightMax,
          isolates,
          behaviour: reached(behaviour),
        });
      this.prepares = phase("prepare", (batch: PrepareEntry[]) => votes.prepare(batch), 2);
      this.commits = phase("commit", (batch: TxId[]) => votes.commit(batch), 1);
      this.aborts = phase("abort", (batch: TxId[]) => votes.abort(batch), 1);

      this.supervisor.loop({
        name: "inquiry",
        intervalMs: INQUIRY_INTERVAL_MS,
        tick: async () => {
          this.noteDoubts(await votes.inDoubt(INQUIRY_BATCH_MAX));
          await this.inquire();
          return false;
        },
      });
    },

    methods: {
      /** Waiting is counted from the first sight in this incarnation, by a clock that cannot jump. */
      noteDoubts(txIds: TxId[]) {
        const now = performance.now();
        const before: Map<TxId, Doubt> = this.doubts;
        this.doubts = new Map(
          txIds.map((txId) => [
            txId,
            before.get(txId) ?? { since: now, askAt: now + INQUIRY_AFTER_MS, pauseMs: INQUIRY_INTERVAL_MS },
          ]),
        );
      },

      async inquire() {
        const now = performance.now();
        const inquiries: Inquiry[] = [];
        for (const [txId, doubt] of this.doubts as Map<TxId, Doubt>) {
          if (doubt.askAt > now) continue;
          inquiries.push({ txId, waitedMs: Math.round(now - doubt.since) });
          // Every tick for the first few seconds, so that a restart settles quickly; then backing off with jitter.
          if (now - doubt.since > 10 * INQUIRY_INTERVAL_MS)
            doubt.pauseMs = Math.min(doubt.pauseMs * (1.5 + Math.random()), INQUIRY_PAUSE_MS_MAX);
          doubt.askAt = now + doubt.pauseMs;
        }
        if (inquiries.length === 0) return;
        const replies: InquiryReply[] = await this.broker.call("transaction-manager.outcome", { inquiries });
        await Promise.all(
          inquiries.map(async ({ txId }, i) => {
            const reply = replies[i];
            if (reply === "pending" || reply === "forgotten" || reply === undefined) return;
            const settled: DecisionReply = await (reply === "commit" ? this.commits : this.aborts).ask(txId);
            if (settled === "contradiction")
              this.logger.error(
                `needs an operator: the register says ${reply}, the vote here says the opposite`,
                { txId },
              );
          }),
        );
      },
    },
  };
}

const errorReply = (err: Error & { type?: string }): PrepareReply => ({
  kind: "error",
  code: err.type ?? "internal_error",
  message: err.message,
});

/** A failed commit or abort is not acknowledged; the manager's recovery, or our own inquiry, brings it again. */
const notYet = (): DecisionReply => "pending";
