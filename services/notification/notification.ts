/**
 * What an event says to whom, pure. An event that is not understood (another type, another version, a payload that
 * does not fit) becomes a row too, with the reason: it is never dropped.
 */
import type { ShopEvent } from "../../lib/event.ts";
import { isId } from "../../lib/ids.ts";
import type { OrderConfirmedV1 } from "../order/api.ts";
import type { UserRegisteredV1 } from "../user/api.ts";

interface Letter {
  userId: string;
  subject: string;
  text: string;
}

export type Notification = { event: ShopEvent } & (
  | ({ status: "stored" } & Letter)
  | { status: "ignored"; reason: string }
);

type Writer = (payload: Record<string, unknown>) => Letter | undefined;

/** By `type.vN`. A writer answers undefined where the payload does not fit. */
const WRITERS: ReadonlyMap<string, Writer> = new Map<string, Writer>([
  ["order.confirmed.v1", orderConfirmed],
  ["user.registered.v1", userRegistered],
]);

export function notificationOf(event: ShopEvent): Notification {
  const kind = `${event.type}.v${event.version}`;
  const writer = WRITERS.get(kind);
  if (!writer) return { event, status: "ignored", reason: `${kind} is not known here` };
  const letter = writer(event.payload);
  if (!letter) return { event, status: "ignored", reason: `the payload of ${kind} does not fit` };
  return { event, status: "stored", ...letter };
}

function orderConfirmed(payload: Record<string, unknown>): Letter | undefined {
  const { orderId, userId, total, currency, lines } = payload as Partial<OrderConfirmedV1>;
  if (!isId(orderId) || !isId(userId) || !Number.isSafeInteger(total)) return undefined;
  if (!/^[A-Z]{3}$/.test(currency ?? "") || !Array.isArray(lines)) return undefined;
  const products = lines.length === 1 ? "1 product" : `${lines.length} products`;
  return {
    userId,
    subject: "Your order is confirmed",
    text: `Thank you for your order ${orderId}: ${products}, ${amountText(total as number, currency as string)}.`,
  };
}

function userRegistered(payload: Record<string, unknown>): Letter | undefined {
  const { userId, name } = payload as Partial<UserRegisteredV1>;
  if (!isId(userId) || typeof name !== "string") return undefined;
  return { userId, subject: "Welcome", text: `Welcome to the shop, ${name}.` };
}

interface MoneyFormat {
  format: Intl.NumberFormat;
  decimals: number;
}
const formats = new Map<string, MoneyFormat>();

/** 1999 EUR reads "EUR 19.99". Intl knows how many decimals a currency has; asking it is slow, so both are kept. */
function amountText(amount: number, currency: string): string {
  let known = formats.get(currency);
  if (!known) {
    const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
    known = { format, decimals: format.resolvedOptions().maximumFractionDigits ?? 2 };
    formats.set(currency, known);
  }
  // Intl puts a no-break space after the code; mail is plainer with a plain one.
  return known.format.format(amount / 10 ** known.decimals).replaceAll("\u00a0", " ");
}
