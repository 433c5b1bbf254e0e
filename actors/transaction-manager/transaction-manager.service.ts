/**
 * The broker's shell around the transaction manager. Callers of `run`: order.place, nobody else. Callers of
 * `outcome`: participants in doubt, and order.place about a rival attempt under the same key. Callers of `describe`,
 * `undelivered` and `force`: the service `transactions`, for operators. Any number of nodes may host it.
 */
import type { Context, ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { isOutOfReach, ShopError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import { stopStep } from "../../lib/stop.ts";
import { actorsMixin } from "../../mixins/actors.mixin.ts";
import { databaseMixin } from "../../mixins/database.mixin.ts";
import { ForeignParticipant } from "../../mixins/grpc/foreign.ts";
import { measure } from "../../mixins/measures.ts";
import { tracesOf } from "../../mixins/traces.ts";
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  Outcome,
  PrepareReply,
  Requests,
  RunResult,
  TxId,
} from "../protocol/messages.ts";
import type { Page, RegisterReport } from "../protocol/reports.ts";
import { Garbage, type GarbageState } from "./garbage.ts";
import type { ParticipantPort, RunOptions } from "./ports.ts";
import {
  describeDecisions,
  type Force,
  findUndelivered,
  recordAnswer,
  recordForce,
} from "./register.operators.ts";
import { register } from "./register.ts";
import { TransactionManager } from "./transaction-manager.ts";

/** A commit that is older than this and not acknowledged has lost its driver, or its driver is slow. */
const RECOVERY_AGE_MS = 2_000;
/** Nobody waits for it; with something to delete it goes on at its own pace. */
const GARBAGE_INTERVAL_MS = 10_000;
/** Longer than any healthy batch; a participant that answers later is asked again. */
const PARTICIPANT_TIMEOUT_MS = 3_000;

const service: ServiceSchema = {
  name: "transaction-manager",
  mixins: [actorsMixin, databaseMixin("transaction-manager", new URL("./migrations/", import.meta.url))],

  actions: {
    run: {
      // Never idempotent: a second run is a second transaction.
      visibility: "public",
      retry: false,
      // Its failures are those of participants, which have breakers of their own.
      circuitBreaker: { enabled: false },
      params: { requests: "object", options: "object" },
      async handler(ctx: Context<{ requests: Requests; options: RunOptions }>): Promise<RunResult> {
        const run = (): Promise<RunResult> => this.manager.run(ctx.params.requests, ctx.params.options);
        const result = await (tracesOf(this.broker)?.during(ctx, run) ?? run());
        this.outcomes[result.outcome]++;
        return result;
      },
    },

    // For operators: how far garbage collection has come here, and what holds it up.
    garbage: {
      visibility: "public",
      idempotent: true,
      params: {},
      handler(): GarbageState {
        return this.garbage.state;
      },
    },

    outcome: {
      grpc: "shop.v1.TransactionManager/Outcome",
      auth: "participant",
      visibility: "public",
      idempotent: true,
      params: {
        inquiries: {
          type: "array",
          min: 1,
          max: 1_000,
          items: { type: "object", props: { txId: "uuid", waitedMs: { type: "number", min: 0 } } },
        },
      },
      handler(ctx: Context<{ inquiries: Inquiry[] }>): Promise<InquiryReply[]> {
        return this.manager.outcome(ctx.params.inquiries);
      },
    },

    describe: {
      visibility: "public",
      idempotent: true,
      params: { txIds: { type: "array", min: 1, max: 1_000, items: "uuid" } },
      handler(ctx: Context<{ txIds: TxId[] }>): Promise<RegisterReport> {
        return describeDecisions(this.db, ctx.params.txIds);
      },
    },

    undelivered: {
      visibility: "public",
      idempotent: true,
      params: { after: "uuid", limit: { type: "number", integer: true, min: 1, max: 1_000 } },
      handler(ctx: Context<Page>): Promise<TxId[]> {
        return findUndelivered(this.db, ctx.params);
      },
    },

    // Whoever calls it has seen a yes of each of `participants`, where the outcome is commit.
    force: {
      visibility: "public",
      params: {
        txId: "uuid",
        outcome: { type: "enum", values: ["commit", "abort"] },
        participants: { type: "array", min: 1, items: "string" },
        by: "string",
        reason: "string",
      },
      async handler(ctx: Context<Force & { participants: string[] }>): Promise<Outcome | "forgotten"> {
        const { participants, ...force } = ctx.params;
        const { txId, outcome } = force;
        const id = await recordForce(this.db, force);
        const stored: Outcome | "forgotten" = await this.manager.force({
          txId,
          outcome,
          participants,
        });
        // It is decided: that the answer is missing in the record of who asked for what must not look like a failure.
        await recordAnswer(this.db, id, stored).catch((err) =>
          this.logger.error(
            "what an operator was answered could not be recorded:",
            { txId, id, stored },
            err,
          ),
        );
        this.logger.warn("an operator's decision was proposed", { ...force, stored });
        return stored;
      },
    },
  },

  created() {
    this.outcomes = { commit: 0, abort: 0, unknown: 0 } satisfies Record<RunResult["outcome"], number>;
    measure(this, () =>
      Object.entries(this.outcomes).map(([outcome, runs]) => [
        "shop_transactions_total",
        runs as number,
        { outcome },
      ]),
    );
  },

  async started() {
    const { broker } = this;
    // Every message to a participant may be repeated, so one that met a dying node is: at another replica.
    const tell = <Reply>(action: string, params: object, options?: object): Promise<Reply> =>
      broker
        .call<Reply, object>(action, params, { timeout: PARTICIPANT_TIMEOUT_MS, ...options })
        .catch((err) => {
          throw isOutOfReach(err.type) ? new ShopError("unavailable", err.message) : err;
        });
    const traces = tracesOf(broker);
    const tellOf = <Reply>(txIds: TxId[], action: string, params: object): Promise<Reply> =>
      traces
        ? traces.batch(`tell ${action}`, this.name, txIds, (options) => tell<Reply>(action, params, options))
        : tell<Reply>(action, params);
    const decisions = register(this.db);
    const { decide } = decisions;
    if (traces)
      decisions.decide = (proposals) =>
        traces.batch("decide", this.name, idsOf(proposals), () => decide(proposals));
    const foreign = foreignParticipants();
    this.foreign = foreign;
    const participants: ParticipantPort = {
      prepare: (name, entries) =>
        foreign.get(name)?.prepare(entries) ??
        tellOf<PrepareReply[]>(idsOf(entries), `${name}.prepare`, { entries }),
      commit: (name, txIds) =>
        foreign.get(name)?.commit(txIds) ?? tellOf<DecisionReply[]>(txIds, `${name}.commit`, { txIds }),
      abort: (name, txIds) =>
        foreign.get(name)?.abort(txIds) ?? tellOf<DecisionReply[]>(txIds, `${name}.abort`, { txIds }),
      raiseSeal: (name, upTo) =>
        foreign.get(name)?.raiseSeal(upTo) ?? tell<TxId>(`${name}.raiseSeal`, { upTo }),
      prune: (name, watermark, limit) =>
        foreign.get(name)?.prune(watermark, limit) ?? tell<number>(`${name}.prune`, { watermark, limit }),
    };
    const manager = new TransactionManager({
      register: decisions,
      participants,
      mailbox: (options) => this.supervisor.mailbox(options),
      mint: traces ? (floor) => traces.begin(this.name, newId(floor)) : newId,
      alarm: (message, detail) => this.logger.error(`needs an operator: ${message}`, detail),
      batchMax: config.batchMax,
      capacity: config.mailboxCapacity,
    });
    this.manager = manager;
    this.supervisor.loop({
      name: "recovery",
      intervalMs: 1_000,
      tick: () => manager.recover(RECOVERY_AGE_MS),
    });
    const garbage = new Garbage({
      register: decisions,
      participants,
      retentionMs: config.decisionRetentionHours * 3_600_000,
      learn: (watermark) => manager.learn(watermark),
      warn: (message, detail) => this.logger.warn(message, detail),
    });
    this.garbage = garbage;
    this.supervisor.loop({
      name: "garbage",
      intervalMs: GARBAGE_INTERVAL_MS,
      tick: () => garbage.tick(),
    });
  },

  async stopped() {
    await this.drain();
    for (const participant of (this.foreign as Foreign | undefined)?.values() ?? []) participant.close();
  },

  methods: {
    /** Finishes what it drives. The shop calls it while the participants still listen. */
    drain(): Promise<void> {
      const settle = async () => {
        await this.manager?.settle();
        await this.supervisor.stop();
      };
      this.draining ??= stopStep("manager", this.logger, settle(), () => "transactions that it drives");
      return this.draining;
    },
  },
};

type Foreign = ReadonlyMap<string, ForeignParticipant>;

const foreignParticipants = (): Foreign =>
  new Map(
    Object.entries(config.foreignParticipants).map(([name, address]) => [
      name,
      new ForeignParticipant(name, address, config.participantToken as string, PARTICIPANT_TIMEOUT_MS),
    ]),
  );
const idsOf = (messages: readonly { txId: TxId }[]): TxId[] => messages.map(({ txId }) => txId);

export default service;
