/**
 * Makes a service a participant of the commit protocol: the actions `prepare`, `commit` and `abort` for batches,
 * `raiseSeal` and `prune` for the garbage rule, and the wiring of its voter to database, broker and log. Only
 * transaction managers call the actions; they trust the decision, whoever brings it.
 */
import type { Context, ServiceSchema } from "moleculer";
import type { DecisionReply, PrepareEntry, PrepareReply, TxId } from "../actors/protocol/messages.ts";
import type { Supervisor } from "../actors/supervisor.ts";
import { Voter, type Votes } from "../actors/voter.ts";
import { config } from "../config/index.ts";
import { actorsMixin } from "./actors.mixin.ts";
import { unavailable } from "./database.errors.ts";
import type { Database } from "./database.mixin.ts";
import { measure, type Reading } from "./measures.ts";

export type { Votes } from "../actors/voter.ts";

export function participantMixin(
  participant: (service: { db: Database; supervisor: Supervisor }) => Votes,
): Partial<ServiceSchema> {
  return {
    mixins: [actorsMixin],
    actions: {
      // Managers repeat these themselves, by the protocol's rules.
      prepare: {
        grpc: "shop.v1.Participant/Prepare",
        auth: "participant",
        visibility: "public",
        retry: false,
        params: { entries: { type: "array", min: 1 } },
        handler(ctx: Context<{ entries: PrepareEntry[] }>): Promise<PrepareReply[]> {
          return this.voter.prepare(ctx.params.entries);
        },
      },
      commit: {
        grpc: "shop.v1.Participant/Commit",
        auth: "participant",
        visibility: "public",
        retry: false,
        params: { txIds: { type: "array", min: 1, items: "uuid" } },
        handler(ctx: Context<{ txIds: TxId[] }>): Promise<DecisionReply[]> {
          return this.voter.commit(ctx.params.txIds);
        },
      },
      abort: {
        grpc: "shop.v1.Participant/Abort",
        auth: "participant",
        visibility: "public",
        retry: false,
        params: { txIds: { type: "array", min: 1, items: "uuid" } },
        handler(ctx: Context<{ txIds: TxId[] }>): Promise<DecisionReply[]> {
          return this.voter.abort(ctx.params.txIds);
        },
      },
      raiseSeal: {
        grpc: "shop.v1.Participant/RaiseSeal",
        auth: "participant",
        visibility: "public",
        idempotent: true,
        params: { upTo: "uuid" },
        handler(ctx: Context<{ upTo: TxId }>): Promise<TxId> {
          return this.votes.raiseSeal(ctx.params.upTo);
        },
      },
      prune: {
        grpc: "shop.v1.Participant/Prune",
        auth: "participant",
        visibility: "public",
        params: { watermark: "uuid", limit: { type: "number", integer: true, min: 1 } },
        handler(ctx: Context<{ watermark: TxId; limit: number }>): Promise<number> {
          return this.votes.prune(ctx.params.watermark, ctx.params.limit);
        },
      },
    },

    created() {
      measure(this, () => inDoubtReadings(this.voter));
    },

    async started() {
      this.votes = participant(this as unknown as { db: Database; supervisor: Supervisor });
      this.voter = new Voter({
        votes: this.votes,
        supervisor: this.supervisor,
        batchMax: config.batchMax,
        capacity: config.mailboxCapacity,
        unavailable,
        ask: (inquiries) => this.broker.call("transaction-manager.outcome", { inquiries }),
        alarm: (message, detail) => this.logger.error(`needs an operator: ${message}`, detail),
      });
    },
  };
}

function inDoubtReadings(voter: Voter | undefined): Reading[] {
  if (!voter) return [];
  const { count, oldestMs } = voter.inquiries.inDoubt;
  return [
    ["shop_in_doubt_transactions", count],
    ["shop_in_doubt_oldest_seconds", oldestMs / 1_000],
  ];
}
