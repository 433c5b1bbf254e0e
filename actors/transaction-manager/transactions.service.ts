/**
 * Transactions as operators see them and act on them: over REST for admins, and over the console. It is hosted wherever
 * the transaction manager is and holds nothing: see operators.ts. Every act is recorded with who (a user's id, or
 * "console"), why and when, and logged.
 */
import type { Context, ServiceSchema } from "moleculer";
import { PARTICIPANTS } from "../../config/index.ts";
import { decodeCursor, encodeCursor } from "../../lib/cursor.ts";
import { isId } from "../../lib/ids.ts";
import type { Outcome } from "../protocol/messages.ts";
import { CLOSE_OPENAPI, FORCE_OPENAPI, LIST_OPENAPI, SHOW_OPENAPI } from "./openapi.ts";
import { Operators } from "./operators.ts";
import type { TransactionView } from "./transaction-view.ts";

/** An operator waits for whoever is slow, and hears who did not answer. */
const ASK_TIMEOUT_MS = 3_000;
/** A forced decision is carried out before it is answered: every participant gets its own 3 s. */
const FORCE_TIMEOUT_MS = 9_000;

const TX_ID = "uuid";
const REASON = { type: "string", min: 1, max: 500, trim: true } as const;

interface Meta {
  user?: { id: string };
}

interface ForceParams {
  txId: string;
  outcome: Outcome;
  reason: string;
  heuristic?: string[];
}

interface ServiceInfo {
  name: string;
  actions?: Record<string, unknown>;
}

const byOf = (ctx: Context<unknown, Meta>): string => ctx.meta.user?.id ?? "console";

const service: ServiceSchema = {
  name: "transactions",
  settings: { rest: "/" },

  actions: {
    list: {
      rest: "GET /admin/transactions",
      auth: "admin",
      idempotent: true,
      query: ["state", "limit", "cursor"],
      openapi: LIST_OPENAPI,
      params: {
        state: { type: "enum", values: ["in-doubt", "heuristic"], default: "in-doubt" },
        limit: { type: "number", integer: true, min: 1, max: 100, default: 20, convert: true },
        cursor: { type: "string", max: 500, optional: true },
      },
      async handler(ctx: Context<{ state: "in-doubt" | "heuristic"; limit: number; cursor?: string }>) {
        const { state, limit, cursor } = ctx.params;
        const scope = ["transactions", state];
        const after = decodeCursor(scope, cursor, [isId])?.[0] as string | undefined;
        const { items, last, unreachable } = await this.operators.list(state, after, limit);
        return { items, nextCursor: last ? encodeCursor(scope, [last]) : null, unreachable };
      },
    },

    show: {
      rest: "GET /admin/transactions/:txId",
      auth: "admin",
      idempotent: true,
      openapi: SHOW_OPENAPI,
      params: { txId: TX_ID },
      handler(ctx: Context<{ txId: string }>): Promise<TransactionView> {
        return this.operators.show(ctx.params.txId.toLowerCase());
      },
    },

    force: {
      rest: "POST /admin/transactions/:txId/force",
      auth: "admin",
      openapi: FORCE_OPENAPI,
      params: {
        txId: TX_ID,
        outcome: { type: "enum", values: ["commit", "abort"] },
        reason: REASON,
        heuristic: {
          type: "array",
          min: 1,
          max: 20,
          unique: true,
          optional: true,
          items: { type: "string", min: 1, max: 100 },
        },
      },
      async handler(ctx: Context<ForceParams, Meta>): Promise<TransactionView> {
        const command = { ...ctx.params, txId: ctx.params.txId.toLowerCase(), by: byOf(ctx) };
        this.logger.warn("an operator forces a transaction", command);
        return this.operators.force(command);
      },
    },

    close: {
      rest: "POST /admin/transactions/:txId/close",
      auth: "admin",
      openapi: CLOSE_OPENAPI,
      params: { txId: TX_ID, reason: REASON },
      async handler(ctx: Context<{ txId: string; reason: string }, Meta>): Promise<TransactionView> {
        const { reason } = ctx.params;
        const txId = ctx.params.txId.toLowerCase();
        this.logger.warn("an operator closes a heuristic", { txId, reason, by: byOf(ctx) });
        return this.operators.close(txId, reason, byOf(ctx));
      },
    },
  },

  created() {
    const { broker } = this;
    this.operators = new Operators({
      ask: (actor, message, params) =>
        broker.call(`${actor}.${message}`, params, {
          timeout: message === "force" ? FORCE_TIMEOUT_MS : ASK_TIMEOUT_MS,
        }),
      // Those of the checkout always; any other service that votes, while it is there.
      participants: () => [
        ...new Set<string>([
          ...PARTICIPANTS,
          ...(broker.registry.getServiceList({ withActions: true }) as ServiceInfo[])
            .filter(({ name, actions = {} }) => `${name}.prepare` in actions && `${name}.commit` in actions)
            .map(({ name }) => name),
        ]),
      ],
      alarm: (message, detail) => this.logger.error(`needs an operator: ${message}`, detail),
    });
  },
};

export default service;
