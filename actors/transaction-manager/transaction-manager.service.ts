/**
 * The broker's shell around the transaction manager. Callers of `run`: order.place, nobody else. Callers of
 * `outcome`: participants in doubt, and order.place about a rival attempt under the same key. Any number of nodes may
 * host it.
 */
import type { Context, ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { isOutOfReach, ShopError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";
import { actorsMixin } from "../../mixins/actors.mixin.ts";
import { databaseMixin } from "../../mixins/database.mixin.ts";
import { measure } from "../../mixins/measures.ts";
import type {
  DecisionReply,
  Inquiry,
  InquiryReply,
  PrepareReply,
  Requests,
  RunResult,
} from "../protocol/messages.ts";
import { register } from "./register.ts";
import { type RunOptions, TransactionManager } from "./transaction-manager.ts";

/** A commit that is older than this and not acknowledged has lost its driver, or its driver is slow. */
const RECOVERY_AGE_MS = 2_000;
/** Longer than any healthy batch; a participant that answers later is asked again. */
const PARTICIPANT_TIMEOUT_MS = 3_000;

const service: ServiceSchema = {
  name: "transaction-manager",
  mixins: [actorsMixin, databaseMixin("transaction-manager", new URL("./migrations/", import.meta.url))],

  actions: {
    run: {
      // Never idempotent: a second run is a second transaction.
      visibility: "public",
      params: { requests: "object", options: "object" },
      async handler(ctx: Context<{ requests: Requests; options: RunOptions }>): Promise<RunResult> {
        const result: RunResult = await this.manager.run(ctx.params.requests, ctx.params.options);
        this.outcomes[result.outcome]++;
        return result;
      },
    },

    outcome: {
      visibility: "public",
      idempotent: true,
      params: { inquiries: { type: "array", min: 1, max: 1_000 } },
      handler(ctx: Context<{ inquiries: Inquiry[] }>): Promise<InquiryReply[]> {
        return this.manager.outcome(ctx.params.inquiries);
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
    const tell = <Reply>(action: string, params: object): Promise<Reply> =>
      broker.call<Reply, object>(action, params, { timeout: PARTICIPANT_TIMEOUT_MS }).catch((err) => {
        throw isOutOfReach(err.type) ? new ShopError("unavailable", err.message) : err;
      });
    const manager = new TransactionManager({
      register: register(this.db),
      participants: {
        prepare: (name, entries) => tell<PrepareReply[]>(`${name}.prepare`, { entries }),
        commit: (name, txIds) => tell<DecisionReply[]>(`${name}.commit`, { txIds }),
        abort: (name, txIds) => tell<DecisionReply[]>(`${name}.abort`, { txIds }),
      },
      mailbox: (options) => this.supervisor.mailbox(options),
      mint: newId,
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
  },

  async stopped() {
    await this.manager?.settle();
  },

  methods: {
    /** Finishes what it drives. The shop calls it while the participants still listen. */
    async drain(): Promise<void> {
      await this.manager?.settle();
      await this.supervisor.stop();
    },
  },
};

export default service;
