/** The domain of order, pure: what an attempt to buy is, how it reads, and which of several noes the client hears. */
import type { ReportedRefusal, TxId } from "../../actors/protocol/messages.ts";
import { PARTICIPANTS } from "../../config/index.ts";
import { ERRORS, type ErrorCode, type ErrorExtra, type Fault, isError, ShopError } from "../../lib/errors.ts";
import type { QuotedLine } from "../product/api.ts";
import type { Order, OrderStatus, PaymentStatus } from "./api.ts";

/** What an order may hold; fastest-validator rules. The item limit allows for products that stand on several lines. */
export const ITEMS = {
  type: "array",
  min: 1,
  max: 2_000,
  items: {
    type: "object",
    props: {
      productId: "uuid",
      quantity: { type: "number", integer: true, min: 1, max: 100_000 },
    },
  },
} as const;
export const MONEY = {
  type: "object",
  props: {
    amount: { type: "number", integer: true, min: 0, max: Number.MAX_SAFE_INTEGER },
    currency: { type: "string", pattern: /^[A-Z]{3}$/ },
  },
} as const;
const PRODUCTS_MAX = 1_000;
const QUANTITY_MAX = 100_000;

export type OrderState = "prepared" | "committed" | "aborted";

/** What order is asked to prepare. `createdAt` is RFC 3339; `replaces` names the aborted attempt whose key it takes. */
export interface OrderRequest {
  userId: string;
  idempotencyKey: string | undefined;
  bodyHash: string | undefined;
  replaces: TxId | undefined;
  lines: QuotedLine[];
  total: number;
  currency: string;
  createdAt: string;
}

/** An order as it is stored. */
export interface OrderRow {
  id: TxId;
  state: OrderState;
  answered_pending: boolean;
  user_id: string;
  body_hash: string | null;
  lines: QuotedLine[];
  total: number;
  currency: string;
  created_at: Date;
}

const STATUS: Record<OrderState, OrderStatus> = {
  prepared: "pending",
  committed: "confirmed",
  aborted: "rejected",
};

/** Without news from payment an order shows what its own state proves. */
const PAYMENT_STATUS: Record<OrderState, PaymentStatus> = {
  prepared: "authorized",
  committed: "authorized",
  aborted: "voided",
};

export function toOrder(row: OrderRow, paymentStatus: PaymentStatus = PAYMENT_STATUS[row.state]): Order {
  const money = (amount: number) => ({ amount, currency: row.currency });
  return {
    id: row.id,
    userId: row.user_id,
    status: STATUS[row.state],
    items: row.lines.map(({ productId, sku, name, quantity, unitPrice }) => ({
      productId,
      sku,
      name,
      quantity,
      unitPrice: money(unitPrice),
      lineTotal: money(unitPrice * quantity),
    })),
    total: money(row.total),
    payment: { status: paymentStatus },
    createdAt: row.created_at.toISOString(),
  };
}

interface Item {
  productId: string;
  quantity: number;
}

/** UUIDs are equal whatever their case; everything behind the edge compares them as text. */
const idOf = ({ productId }: Item): string => productId.toLowerCase();

/** The same product on two lines is one line with the sum. Keeps the order of first appearance. */
export function mergeItems(items: readonly Item[]): Item[] {
  const merged = new Map<string, number>();
  for (const item of items) {
    const productId = idOf(item);
    merged.set(productId, (merged.get(productId) ?? 0) + item.quantity);
  }
  const faults: Fault[] = [];
  if (merged.size > PRODUCTS_MAX)
    faults.push({
      pointer: "/items",
      code: "array_max",
      message: `an order holds up to ${PRODUCTS_MAX} distinct products, not ${merged.size}`,
    });
  for (const [productId, quantity] of merged) {
    if (quantity <= QUANTITY_MAX) continue;
    const line = items.findLastIndex((item) => idOf(item) === productId);
    faults.push({
      pointer: `/items/${line}/quantity`,
      code: "number_max",
      message: `the lines of one product add up to ${quantity}, more than ${QUANTITY_MAX}`,
    });
  }
  if (faults.length > 0)
    throw new ShopError("validation_failed", "The order is too large; split it.", { errors: faults });
  return [...merged].map(([productId, quantity]) => ({ productId, quantity }));
}

/** What product says of merged items, with pointers to the lines that the client wrote. */
export function atLines(err: unknown, merged: readonly Item[], lines: readonly Item[]): unknown {
  if (!isError(err, "validation_failed")) return err;
  const { message, data } = err as { message: string; data: ErrorExtra };
  const lineOf = (i: string) =>
    String(lines.findIndex((line) => idOf(line) === merged[Number(i)]?.productId));
  const errors = data.errors?.map((fault) => ({
    ...fault,
    pointer: fault.pointer?.replace(/(?<=^\/items\/)\d+/, lineOf),
  }));
  return new ShopError("validation_failed", message, { ...data, errors });
}

/** When several participants refuse, the client hears the one it can act on best: its own key, the goods, the card. */
const REFUSAL_ORDER = [
  "key_taken",
  "product_gone",
  "price_changed",
  "insufficient_stock",
  "payment_declined",
];

export function firstRefusal(refusals: readonly ReportedRefusal[]): ReportedRefusal | undefined {
  const rank = ({ reason }: ReportedRefusal) => REFUSAL_ORDER.indexOf(reason) + 1 || REFUSAL_ORDER.length + 1;
  return [...refusals].sort((a, b) => rank(a) - rank(b))[0];
}

const OURS: ReadonlySet<string> = new Set(PARTICIPANTS);

/** A refusal as the client hears it. */
export function refusalError(
  { participant, reason, detail = {} }: ReportedRefusal,
  lines: readonly QuotedLine[],
): ShopError {
  // One of another's words, where it is none of ours.
  if (!OURS.has(participant) && !(reason in ERRORS))
    return new ShopError("refused_elsewhere", `${participant} refuses the order: ${reason.slice(0, 64)}.`, {
      participant,
      reason: reason.slice(0, 64),
    });
  const sku = lines.find((line) => line.productId === detail.productId)?.sku;
  const product = sku === undefined ? `product ${detail.productId}` : `product ${sku}`;
  switch (reason) {
    case "insufficient_stock":
      return new ShopError(
        "insufficient_stock",
        `Only ${detail.available} of ${product} are left; order fewer.`,
        detail,
      );
    case "product_gone":
      return new ShopError(
        "product_gone",
        `The ${product} is no longer sold; take it out of the order.`,
        detail,
      );
    case "price_changed":
      return new ShopError(
        "price_changed",
        `The price of ${product} has changed; look at it and order again.`,
        detail,
      );
    case "payment_declined":
      return new ShopError("payment_declined", "The card was declined; pay with another one.", detail);
    default:
      return new ShopError(
        reason in ERRORS ? (reason as ErrorCode) : "deadline_exceeded",
        "The order could not be placed in time; nothing was bought, and the same key may be used again.",
        { retryAfter: 1 },
      );
  }
}
