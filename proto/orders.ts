/** shop.v1.Orders: messages from and to what order's actions take and answer. */
import type { Money } from "../lib/money.ts";
import { given, type ItemMessage, itemsOf } from "./products.ts";
import { type MoneyMessage, moneyOf, toMoney, toTimestamp, Words } from "./values.ts";

interface Order {
  id: string;
  userId: string;
  status: "pending" | "confirmed" | "rejected";
  items: {
    productId: string;
    sku: string;
    name: string;
    quantity: number;
    unitPrice: Money;
    lineTotal: Money;
  }[];
  total: Money;
  payment: { status: "authorized" | "captured" | "voided" };
  createdAt: string;
}
interface PlaceOrderRequest {
  items?: ItemMessage[];
  payment?: { token?: string };
  expectedTotal?: MoneyMessage;
}

const STATUS = new Words({
  pending: "ORDER_STATUS_PENDING",
  confirmed: "ORDER_STATUS_CONFIRMED",
  rejected: "ORDER_STATUS_REJECTED",
});
const PAYMENT_STATUS = new Words({
  authorized: "PAYMENT_STATUS_AUTHORIZED",
  captured: "PAYMENT_STATUS_CAPTURED",
  voided: "PAYMENT_STATUS_VOIDED",
});

const toOrder = ({ id, userId, status, items, total, payment, createdAt }: Order) => ({
  id,
  userId,
  status: STATUS.name(status),
  items: items.map(({ unitPrice, lineTotal, ...item }) => ({
    ...item,
    unitPrice: toMoney(unitPrice),
    lineTotal: toMoney(lineTotal),
  })),
  total: toMoney(total),
  paymentStatus: PAYMENT_STATUS.name(payment.status),
  createdAt: toTimestamp(createdAt),
});

export const PlaceOrder = {
  toParams: ({ items, payment, expectedTotal }: PlaceOrderRequest) =>
    given({
      items: itemsOf(items),
      payment: payment && { token: payment.token ?? "" },
      expectedTotal: expectedTotal && moneyOf(expectedTotal, "/expectedTotal"),
    }),
  /** An order whose outcome is not known yet is its id and the word pending, and nothing else. */
  toResponse: (
    order: Order | Pick<Order, "id" | "status">,
    meta: { $responseHeaders?: Record<string, string> },
  ) => ({
    order: "items" in order ? toOrder(order) : { id: order.id, status: STATUS.name(order.status) },
    replayed: meta.$responseHeaders?.["Idempotency-Replayed"] === "true",
  }),
};

export const GetOrder = {
  toParams: ({ id = "" }: { id?: string }) => ({ id }),
  toResponse: toOrder,
};

export const ListOrdersByUser = {
  toParams: ({ userId = "", ...rest }: { userId?: string; limit?: number; cursor?: string }) =>
    given({ userId, ...rest }),
  toResponse: ({ items, nextCursor }: { items: Order[]; nextCursor: string | null }) =>
    given({ items: items.map(toOrder), nextCursor: nextCursor ?? undefined }),
};
