import { describe, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { notificationOf } from "../../../services/notification/notification.ts";

const userId = newId();
const orderId = newId();
const line = { productId: newId(), sku: "MUG", name: "Mug", quantity: 2, unitPrice: 1_000 };
const confirmed = { orderId, userId, total: 199_900, currency: "EUR", lines: [line, line] };
const event = (type: string, version: number, payload: Record<string, unknown>) => ({
  id: newId(),
  type,
  version,
  key: orderId,
  payload,
  time: "2026-01-02T03:04:05.678Z",
  traceparent: null,
});

describe("an event becomes a message", () => {
  test("to the buyer of a confirmed order, with its number, its products and its total", () => {
    expect(notificationOf(event("order.confirmed", 1, confirmed))).toMatchObject({
      status: "stored",
      userId,
      subject: "Your order is confirmed",
      text: `Thank you for your order ${orderId}: 2 products, EUR 1,999.00.`,
    });
  });

  test("in a currency of any number of decimals", () => {
    const text = (currency: string) =>
      (notificationOf(event("order.confirmed", 1, { ...confirmed, currency })) as { text: string }).text;
    expect(text("JPY")).toContain("JPY 199,900.");
    expect(text("KWD")).toContain("KWD 199.900.");
  });

  test("to whoever registered", () => {
    const welcome = notificationOf(
      event("user.registered", 1, { userId, email: "a@example.com", name: "Ann" }),
    );
    expect(welcome).toMatchObject({ status: "stored", userId, text: "Welcome to the shop, Ann." });
  });
});

describe("an event is ignored, with the reason", () => {
  test.each([
    ["of another type", event("order.shipped", 1, confirmed), "order.shipped.v1 is not known here"],
    ["of another version", event("order.confirmed", 2, confirmed), "order.confirmed.v2 is not known here"],
    ["named like a member of every object", event("constructor", 1, {}), "constructor.v1 is not known here"],
    [
      "without a user",
      event("order.confirmed", 1, { ...confirmed, userId: undefined }),
      "the payload of order.confirmed.v1 does not fit",
    ],
    [
      "with half a total",
      event("order.confirmed", 1, { ...confirmed, total: 0.5 }),
      "the payload of order.confirmed.v1 does not fit",
    ],
    [
      "in no currency",
      event("order.confirmed", 1, { ...confirmed, currency: "euro" }),
      "the payload of order.confirmed.v1 does not fit",
    ],
    [
      "of a registration without a name",
      event("user.registered", 1, { userId }),
      "the payload of user.registered.v1 does not fit",
    ],
  ])("%s", (_what, ignored, reason) => {
    expect(notificationOf(ignored)).toEqual({ event: ignored, status: "ignored", reason });
  });
});
