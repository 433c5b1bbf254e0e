/**
 * Orders: placing them as one transaction over order, product and payment, and reading them back. Also a participant:
 * a pending order is its vote.
 */
import type { Context, ServiceBroker, ServiceSchema } from "moleculer";
import type { DecisionReply, InquiryReply, RunResult } from "../../actors/protocol/messages.ts";
import { config } from "../../config/index.ts";
import { decodeCursor, encodeCursor } from "../../lib/cursor.ts";
import { ShopError } from "../../lib/errors.ts";
import { isId } from "../../lib/ids.ts";
import type { Money } from "../../lib/money.ts";
import { isTransient } from "../../mixins/database.errors.ts";
import { databaseMixin } from "../../mixins/database.mixin.ts";
import { outboxMixin } from "../../mixins/events/outbox.mixin.ts";
import { operatedMixin } from "../../mixins/operated.mixin.ts";
import { participantMixin, type Votes } from "../../mixins/participant.mixin.ts";
import { tracesOf } from "../../mixins/traces.ts";
import type { Quote } from "../product/api.ts";
import type { Order, PaymentStatus } from "./api.ts";
import { GET_OPENAPI, LIST_OPENAPI, PLACE_OPENAPI } from "./openapi.ts";
import { operatedOrders } from "./order.operated.ts";
import { orderParticipant } from "./order.participant.ts";
import { findByKey, findOrder, listOrders, markAnsweredPending } from "./order.repository.ts";
import { atLines, ITEMS, MONEY, mergeItems, type OrderRow, toOrder } from "./order.ts";
import {
  bodyHashOf,
  failureError,
  keyReused,
  type PlaceCommand,
  type Placed,
  type PlacePorts,
  place,
  requestInProgress,
} from "./place.ts";

interface Meta {
  user: { id: string; roles: string[] };
  idempotencyKey?: string;
  $statusCode?: number;
  $location?: string;
  $responseHeaders?: Record<string, string>;
}

interface PlaceParams {
  items: { productId: string; quantity: number }[];
  payment: { token: string };
  expectedTotal?: Money;
}

/** Before the action's time limit. */
const IN_TIME_MS = 4_800;

/** What comes of it, or in time that it was too late: a database that hangs lets nobody go. */
function inTime<Result>(work: Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(failureError([])), IN_TIME_MS);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

const HALF_THE_POOL = Math.ceil(config.databasePoolMax / 2);

const isAdmin = (meta: Meta): boolean => meta.user.roles.includes("admin");

const service: ServiceSchema = {
  name: "order",
  mixins: [
    outboxMixin,
    operatedMixin(operatedOrders),
    participantMixin((host) => {
      const traces = tracesOf((host as unknown as { broker: ServiceBroker }).broker);
      return orderParticipant(host.db, traces && ((txIds) => traces.traceparentsOf("order", txIds))) as Votes;
    }),
    databaseMixin("order", new URL("./migrations/", import.meta.url)),
  ],
  settings: { rest: "/" },

  actions: {
    // Called by clients. Idempotent only by the client's key, so nothing between retries it.
    place: {
      rest: "POST /orders",
      grpc: "shop.v1.Orders/PlaceOrder",
      auth: "user",
      retry: false,
      timeout: 5_000,
      // What fails behind it has breakers of its own, and a refused order is no fault of this node.
      answersInTime: true,
      // A repeat meets the first try where that is remembered, and is answered at once.
      key: "#idempotencyKey",
      successStatus: 201,
      openapi: PLACE_OPENAPI,
      params: {
        items: ITEMS,
        payment: { type: "object", props: { token: { type: "string", min: 1, max: 255 } } },
        expectedTotal: { ...MONEY, optional: true },
      },
      async handler(ctx: Context<PlaceParams, Meta>): Promise<Order> {
        const { user, idempotencyKey } = ctx.meta;
        const { items, payment, expectedTotal } = ctx.params;
        const command: PlaceCommand = {
          userId: user.id,
          idempotencyKey,
          items: mergeItems(items),
          token: payment.token,
          expectedTotal,
        };
        const bodyHash = bodyHashOf(command);
        const placing: Promise<Placed> = this.oneAtATime(
          idempotencyKey && `${user.id} ${idempotencyKey}`,
          bodyHash,
          () => place(command, bodyHash, this.ports(ctx)),
        );
        const placed = await inTime(placing);
        ctx.meta.$statusCode = placed.status;
        ctx.meta.$location = `/orders/${placed.order.id}`;
        if (placed.replayed) ctx.meta.$responseHeaders = { "Idempotency-Replayed": "true" };
        if (placed.status === 202) {
          ctx.meta.$responseHeaders = { "Retry-After": "1" };
          return { id: placed.order.id, status: "pending" } as Order;
        }
        return toOrder(placed.order);
      },
    },

    get: {
      rest: "GET /orders/:id",
      grpc: "shop.v1.Orders/GetOrder",
      auth: "user",
      idempotent: true,
      openapi: GET_OPENAPI,
      params: { id: "uuid" },
      async handler(ctx: Context<{ id: string }, Meta>): Promise<Order> {
        const row = await findOrder(this.db, ctx.params.id);
        // Another user's order is as unknown as none at all.
        if (!row || (row.user_id !== ctx.meta.user.id && !isAdmin(ctx.meta)))
          throw new ShopError("not_found", `There is no order ${ctx.params.id}.`);
        return (await this.withPayments(ctx, [row]))[0];
      },
    },

    listByUser: {
      rest: "GET /orders/user/:userId",
      grpc: "shop.v1.Orders/ListOrdersByUser",
      auth: "user",
      idempotent: true,
      query: ["limit", "cursor"],
      // Lists must leave connections to the checkout.
      bulkhead: { enabled: true, concurrency: HALF_THE_POOL, maxQueueSize: 100 },
      openapi: LIST_OPENAPI,
      params: {
        userId: "uuid",
        limit: { type: "number", integer: true, min: 1, max: 100, default: 20, convert: true },
        cursor: { type: "string", max: 500, optional: true },
      },
      async handler(ctx: Context<{ userId: string; limit: number; cursor?: string }, Meta>) {
        const { userId, limit, cursor } = ctx.params;
        if (userId !== ctx.meta.user.id && !isAdmin(ctx.meta))
          throw new ShopError("forbidden", "Only the user and admins may see a user's orders.");
        const before = decodeCursor(["orders", userId], cursor, [isId])?.[0] as string | undefined;
        const rows = await listOrders(this.db, userId, before, limit + 1);
        const page = rows.slice(0, limit);
        const last = page.at(-1);
        return {
          items: await this.withPayments(ctx, page),
          nextCursor: rows.length > limit && last ? encodeCursor(["orders", userId], [last.id]) : null,
        };
      },
    },
  },

  created() {
    /** The user's keys that are being placed here, each with the hash of its body. */
    this.placing = new Map<string, string>();
  },

  methods: {
    /** A second request with the same key on this node is answered at once instead of competing for stock and card. */
    async oneAtATime<Result>(
      key: string | undefined,
      bodyHash: string,
      work: () => Promise<Result>,
    ): Promise<Result> {
      if (!key) return work();
      const running = this.placing.get(key);
      if (running !== undefined) throw running === bodyHash ? requestInProgress() : keyReused();
      this.placing.set(key, bodyHash);
      try {
        return await work();
      } finally {
        this.placing.delete(key);
      }
    },

    ports(ctx: Context<PlaceParams>): PlacePorts {
      return {
        findByKey: (userId, key) => findByKey(this.db, userId, key),
        quote: (items, fresh) =>
          ctx.call<Quote, object>("product.quote", { items, fresh }).catch((err) => {
            throw atLines(err, items, ctx.params.items);
          }),
        run: (requests, options) =>
          ctx.call<RunResult, object>("transaction-manager.run", { requests, options }),
        outcomeOf: async (txId) => {
          const inquiries = [{ txId, waitedMs: 0 }];
          const [reply] = await ctx.call<InquiryReply[], object>("transaction-manager.outcome", {
            inquiries,
          });
          return reply ?? "pending";
        },
        commitHere: async (txId) => {
          const reply: DecisionReply = await this.voter.commits.ask(txId);
          if (reply !== "done")
            throw new ShopError("request_in_progress", "The order is being confirmed; ask again.", {
              retryAfter: 1,
            });
        },
        markAnsweredPending: (txId) =>
          markAnsweredPending(this.db, txId).catch((err) => {
            if (!isTransient(err)) throw err;
            // "Unavailable" would say that nothing was done, and the order may well come true.
            this.logger.warn(`order ${txId} cannot be marked as answered:`, err.message);
            return undefined;
          }),
        today: () => new Date(),
        now: () => performance.now(),
        foreign: Object.keys(config.foreignParticipants),
      };
    },

    /** Orders with what payment says of them; while payment is away they show what their own state proves. */
    async withPayments(ctx: Context, rows: OrderRow[]): Promise<Order[]> {
      if (rows.length === 0) return [];
      const statuses = await ctx
        .call<Record<string, PaymentStatus>, object>("payment.statuses", { txIds: rows.map((row) => row.id) })
        .catch((err) => {
          this.logger.warn("payment cannot be asked for statuses:", err.message);
          return {} as Record<string, PaymentStatus>;
        });
      return rows.map((row) => toOrder(row, statuses[row.id]));
    },
  },
};

export default service;
