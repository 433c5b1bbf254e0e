/** Order as the conformance suite sees it: every request has a user and a key of its own, one key is taken. */
import { newId } from "../../lib/ids.ts";
import type { Votes } from "../../mixins/participant.mixin.ts";
import { operatedOrders } from "../../services/order/order.operated.ts";
import { orderParticipant } from "../../services/order/order.participant.ts";
import type { OrderRequest } from "../../services/order/order.ts";
import type { Subject } from "./subject.ts";

export const orderRequest = (overrides: Partial<OrderRequest> = {}): OrderRequest => ({
  userId: newId(),
  idempotencyKey: newId(),
  bodyHash: "body",
  replaces: undefined,
  lines: [{ productId: newId(), sku: "MUG", name: "Mug", quantity: 2, unitPrice: 990 }],
  total: 1_980,
  currency: "EUR",
  createdAt: new Date().toISOString(),
  ...overrides,
});

export const order: Subject = {
  name: "order",
  table: "orders",
  key: "id",
  keepsCommitted: true,
  operated: operatedOrders,
  async makeWorld(db) {
    const taken = { userId: newId(), idempotencyKey: "taken" };
    await db.query({
      text: `insert into orders (id, state, request_hash, user_id, idempotency_key, lines, total, currency, created_at)
             values ($1, 'committed', 'h', $2, $3, '[]', 0, 'EUR', now())`,
      values: [newId(), taken.userId, taken.idempotencyKey],
    });
    const count = async (from: string): Promise<number> => {
      const { rows } = await db.query<{ n: number }>({ text: `select count(*)::int as n from ${from}` });
      return rows[0]?.n as number;
    };
    return {
      factory: (host) => orderParticipant(host.db) as Votes,
      request: () => orderRequest(),
      infeasible: () => ({ request: orderRequest(taken), reason: "key_taken" }),
      poison: {
        "a total that overflows": orderRequest({ total: 1e30 }),
        "an invalid uuid": orderRequest({ userId: "ann" }),
        "an invalid predecessor": orderRequest({ replaces: "the one before" }),
        "a time that is none": orderRequest({ createdAt: "yesterday-ish" }),
        "a currency that is too long": orderRequest({ currency: "EURO" }),
        "no request": null,
      },
      held: () => count("orders where state = 'prepared'"),
      sold: () => count("outbox where type = 'order.confirmed'"),
    };
  },
};
