/**
 * What an event says to whom, pure. Of its payload the part is kept that its letter needs, and the letter is made of that
 * whenever it is sent or shown. A payload that does not fit its kind is an error that names what is wrong: the event then
 * becomes a dead letter, for an operator, and is not dropped.
 */
import { kindOf, type ShopEvent } from "../../lib/event.ts";
import { isId } from "../../lib/ids.ts";
import type { OrderConfirmedV1 } from "../order/api.ts";
import type { UserRegisteredV1 } from "../user/api.ts";
import type { Letter } from "./letters/layout.ts";
import { type OrderContent, orderConfirmed, orderRejected } from "./letters/order.ts";
import { type UserContent, welcome } from "./letters/welcome.ts";

export interface Notification {
  event: ShopEvent;
  userId: string;
  /** What the letter is made of; JSON. */
  content: object;
}

/** As it was stored. Rows from before letters were made of a content have none; theirs is stored as it was. */
export interface Told {
  type: string;
  version: number;
  content: object | null;
  subject: string | null;
  text: string | null;
  html?: string | null;
}

type Payload = Record<string, unknown>;

interface Kind {
  contentOf(payload: Payload): object;
  letterOf(content: object): Letter;
}

const kind = <Content extends object>(
  contentOf: (payload: Payload) => Content,
  write: (content: Content) => Letter,
): Kind => ({ contentOf, letterOf: write as Kind["letterOf"] });

const LETTERS = {
  "order.confirmed.v1": kind(orderOf, orderConfirmed),
  "order.rejected.v1": kind(orderOf, orderRejected),
  "user.registered.v1": kind(userOf, welcome),
} as const satisfies Record<string, Kind>;

export const KINDS = Object.keys(LETTERS) as (keyof typeof LETTERS)[];

function lettersOf(kind: string): Kind {
  if (!Object.hasOwn(LETTERS, kind)) throw new Error(`nobody is told of ${kind}`);
  return LETTERS[kind as keyof typeof LETTERS];
}

/** False for what a later version has told; a letter that was stored as it was is known. */
export const isKnown = (told: Told): boolean => told.content === null || Object.hasOwn(LETTERS, kindOf(told));

/** Throws where the event is of another kind, or its payload does not fit. */
export function notificationOf(event: ShopEvent): Notification {
  const content = lettersOf(kindOf(event)).contentOf(event.payload);
  return { event, userId: event.payload.userId as string, content };
}

export function letterOf(told: Told): Letter {
  const { content, subject, text, html } = told;
  if (content !== null) return lettersOf(kindOf(told)).letterOf(content);
  return { subject: subject ?? "", text: text ?? "", html: html ?? "" };
}

function orderOf(payload: Payload): OrderContent {
  const { orderId, userId, total, currency, lines } = payload as Partial<OrderConfirmedV1>;
  expect(isId(orderId), "orderId is no id");
  expect(isId(userId), "userId is no id");
  expect(isAmount(total), "total is no amount");
  expect(/^[A-Z]{3}$/.test(currency ?? ""), "currency is none");
  expect(Array.isArray(lines) && lines.every(isLine), "lines are not those of an order");
  return {
    orderId: orderId as string,
    total: total as number,
    currency: currency as string,
    lines: (lines as OrderContent["lines"]).map(({ name, sku, quantity, unitPrice }) => ({
      ...{ name, sku, quantity, unitPrice },
    })),
  };
}

function isLine(line: Partial<OrderConfirmedV1["lines"][number]> | null): boolean {
  const { name, sku, quantity, unitPrice } = line ?? {};
  return typeof name === "string" && typeof sku === "string" && isAmount(quantity) && isAmount(unitPrice);
}

function userOf(payload: Payload): UserContent {
  const { userId, name, email } = payload as Partial<UserRegisteredV1>;
  expect(isId(userId), "userId is no id");
  expect(typeof name === "string", "name is no text");
  expect(typeof email === "string", "email is no text");
  return { name: name as string, email: email as string };
}

const isAmount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(`the payload does not fit: ${otherwise}`);
}
