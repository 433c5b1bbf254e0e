/**
 * Lets operators see and act on a participant's own part: the actions `describe`, `inDoubt`, `heuristics`,
 * `forceHeuristic` and `closeHeuristic`, for the service `transactions` and nobody else. A heuristic change (rule 8) is
 * recorded in the transaction that makes it. A loop asks the register about every heuristic until it has an answer, and
 * raises the alarm where that contradicts: nothing mixed stays unsaid because nobody looked.
 */
import type { Context, ServiceSchema } from "moleculer";
import type { InquiryReply, Outcome, TxId } from "../actors/protocol/messages.ts";
import type { Page, VoteReport } from "../actors/protocol/reports.ts";
import { ShopError } from "../lib/errors.ts";
import { LOWEST_ID } from "../lib/ids.ts";
import type { Queryable } from "./database.mixin.ts";
import {
  closeHeuristics,
  type Forced,
  findOpen,
  findUnanswered,
  recordHeuristic,
  recordStored,
} from "./heuristics.ts";
import { measure } from "./measures.ts";

const ASK_INTERVAL_MS = 5_000;
const ASK_MAX = 500;
/** More of them need no exact number. */
const COUNTED_MAX = 1_000;

/** How operators reach a participant's rows. */
export interface OperatedVotes {
  /** The accounts of these transactions; those without a row are left out. `full` looks for the event, too. */
  describe(db: Queryable, txIds: TxId[], full: boolean): Promise<VoteReport[]>;
  /** Transactions above `after` whose vote is in doubt, or which owe something to the world outside, oldest first. */
  unfinished(db: Queryable, page: Page): Promise<TxId[]>;
  /** Makes the outcome final with its effects where the row is not final yet; answers the state before, or undefined
   *  where nothing was changed. Runs inside a transaction. */
  change(tx: Queryable, txId: TxId, outcome: Outcome): Promise<string | undefined>;
}

const TX_IDS = { type: "array", min: 1, max: 1_000, items: "uuid" } as const;
const PAGE = { after: "uuid", limit: { type: "number", integer: true, min: 1, max: 1_000 } } as const;

/** Needs `this.db` and `this.supervisor`. */
export function operatedMixin(votes: OperatedVotes): Partial<ServiceSchema> {
  return {
    actions: {
      describe: {
        visibility: "public",
        idempotent: true,
        params: { txIds: TX_IDS, full: { type: "boolean", default: false } },
        handler(ctx: Context<{ txIds: TxId[]; full: boolean }>): Promise<VoteReport[]> {
          return votes.describe(this.db, ctx.params.txIds, ctx.params.full);
        },
      },
      inDoubt: {
        visibility: "public",
        idempotent: true,
        params: PAGE,
        handler(ctx: Context<Page>): Promise<TxId[]> {
          return votes.unfinished(this.db, ctx.params);
        },
      },
      heuristics: {
        visibility: "public",
        idempotent: true,
        params: PAGE,
        handler(ctx: Context<Page>): Promise<TxId[]> {
          return findOpen(this.db, ctx.params.after, ctx.params.limit);
        },
      },
      forceHeuristic: {
        visibility: "public",
        params: {
          txId: "uuid",
          outcome: { type: "enum", values: ["commit", "abort"] },
          by: "string",
          reason: "string",
          stored: { type: "enum", values: ["commit", "abort"], nullable: true },
        },
        async handler(ctx: Context<Force>): Promise<void> {
          await this.forceHeuristic(ctx.params);
        },
      },
      closeHeuristic: {
        visibility: "public",
        idempotent: true,
        params: {
          txId: "uuid",
          stored: { type: "enum", values: ["commit", "abort"] },
          by: "string",
          reason: "string",
        },
        async handler(
          ctx: Context<{ txId: TxId; stored: Outcome; by: string; reason: string }>,
        ): Promise<number> {
          const closed = await closeHeuristics(this.db, ctx.params);
          if (closed > 0) this.logger.warn("an operator closed a heuristic", ctx.params);
          return closed;
        },
      },
    },

    created() {
      measure(this, async () => {
        if (!this.db) return [];
        const open = await findOpen(this.db, LOWEST_ID, COUNTED_MAX);
        return [["shop_heuristics_open_transactions", open.length]];
      });
    },

    async started() {
      this.supervisor.loop({
        name: "heuristics",
        intervalMs: ASK_INTERVAL_MS,
        tick: () => this.askAboutHeuristics(),
      });
    },

    methods: {
      async forceHeuristic(force: Force): Promise<void> {
        const { txId, outcome } = force;
        const stateBefore: string | undefined = await this.db.transaction(async (tx: Queryable) => {
          const before = await votes.change(tx, txId, outcome);
          if (before !== undefined) await recordHeuristic(tx, { ...force, stateBefore: before });
          return before;
        });
        if (stateBefore === undefined) {
          const [report] = await votes.describe(this.db, [txId], false);
          throw new ShopError(
            "not_in_doubt",
            report
              ? `${this.name} is ${report.state} in ${txId}, which is not in doubt there for a${outcome === "abort" ? "n" : ""} ${outcome}; nothing was changed.`
              : `${this.name} has no record of ${txId}; nothing was changed.`,
            { participant: this.name, state: report?.state ?? null },
          );
        }
        this.logger.warn("an operator changed a vote without the register", {
          ...force,
          stateBefore,
        });
      },

      async askAboutHeuristics(): Promise<boolean> {
        const unanswered = await findUnanswered(this.db, ASK_MAX);
        if (unanswered.length === 0) return false;
        // Not waited at all: the question must never be what makes a manager presume the abort.
        const inquiries = unanswered.map(({ txId }) => ({ txId, waitedMs: 0 }));
        const replies: InquiryReply[] = await this.broker.call("transaction-manager.outcome", { inquiries });
        for (const [i, { txId, outcome }] of unanswered.entries()) {
          const stored = replies[i];
          if (stored !== "commit" && stored !== "abort") continue;
          await recordStored(this.db, txId, stored);
          if (stored !== outcome)
            this.logger.error(
              `needs an operator: heuristic-mixed: the register says ${stored}, an operator chose ${outcome} at ${this.name}`,
              { txId, participant: this.name },
            );
        }
        return false;
      },
    },
  };
}

type Force = Omit<Forced, "stateBefore">;
