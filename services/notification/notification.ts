/**
 * What an event says to whom, pure. A payload that does not fit its kind is an error that names what is wrong: the event
 * then becomes a dead letter, for an operator, and is not dropped.
 */
import { kindOf, type ShopEvent } from "../../lib/event.ts";
import { isId } from "../../lib/ids.ts";
import type { OrderConfirmedV1 } from "../order/api.ts";
import type { UserRegisteredV1 } from "../user/api.ts";
import type { Letter } from "./letters/layout.ts";
import { orderConfirmed, orderRejected } from "./letters/order.ts";
import { welcome } from "./letters/welcome.ts";

export interface Notification extends Letter {
  event: ShopEvent;
  userId: string;
}

type Payload = Record<string, unknown>;

/** By kind: who writes the letter. */
const LETTERS = {
  "order.confirmed.v1": (payload: Payload) => orderConfirmed(orderOf(payload)),
  "order.rejected.v1": (payload: Payload) => orderRejected(orderOf(payload)),
  "user.registered.v1": (payload: Payload) => welcome(userOf(payload)),
} as const satisfies Record<string, (payload: Payload) => Letter>;

export const KINDS = Object.keys(LETTERS) as (keyof typeof LETTERS)[];

/** Throws where the event is of another kind, or its payload does not fit. */
export function notificationOf(event: ShopEvent): Notification {
  const kind = kindOf(event);
  if (!Object.hasOwn(LETTERS, kind)) throw new Error(`nobody is told of ${kind}`);
  const { userId } = event.payload;
  const letter = LETTERS[kind as keyof typeof LETTERS](event.payload);
  return { event, userId: userId as string, ...letter };
}

function orderOf(payload: Payload): OrderConfirmedV1 {
  const { orderId, userId, total, currency, lines } = payload as Partial<OrderConfirmedV1>;
  expect(isId(orderId), "orderId is no id");
  expect(isId(userId), "userId is no id");
  expect(isAmount(total), "total is no amount");
  expect(/^[A-Z]{3}$/.test(currency ?? ""), "currency is none");
  expect(Array.isArray(lines) && lines.every(isLine), "lines are not those of an order");
  return payload as unknown as OrderConfirmedV1;
}

function isLine(line: Partial<OrderConfirmedV1["lines"][number]> | null): boolean {
  const { name, sku, quantity, unitPrice } = line ?? {};
  return typeof name === "string" && typeof sku === "string" && isAmount(quantity) && isAmount(unitPrice);
}

function userOf(payload: Payload): UserRegisteredV1 {
  const { userId, name, email } = payload as Partial<UserRegisteredV1>;
  expect(isId(userId), "userId is no id");
  expect(typeof name === "string", "name is no text");
  expect(typeof email === "string", "email is no text");
  return payload as unknown as UserRegisteredV1;
}

const isAmount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(`the payload does not fit: ${otherwise}`);
}
