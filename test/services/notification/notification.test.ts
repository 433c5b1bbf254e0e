import { describe, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import type { Letter } from "../../../services/notification/letters/layout.ts";
import { isKnown, letterOf, notificationOf } from "../../../services/notification/notification.ts";

const userId = newId();
const orderId = newId();
const line = { productId: newId(), sku: "MUG", name: "Mug", quantity: 2, unitPrice: 1_000 };
const order = { orderId, userId, total: 199_900, currency: "EUR", lines: [line, line] };
const registered = { userId, email: "a@example.com", name: "Ann" };
const event = (type: string, version: number, payload: Record<string, unknown>) => ({
  id: newId(),
  type,
  version,
  key: orderId,
  payload,
  time: "2026-01-02T03:04:05.678Z",
  traceparent: null,
});

/** What is stored is JSON; the letter is made of what comes back. */
const written = (told: ReturnType<typeof event>): Letter & { userId: string } => {
  const { userId, content } = notificationOf(told);
  const { type, version } = told;
  const stored = JSON.parse(JSON.stringify(content));
  return { userId, ...letterOf({ type, version, content: stored, subject: null, text: null }) };
};

describe("an event becomes a letter", () => {
  test("to the buyer of a confirmed order, with its number, its lines and its total, as text and as HTML", () => {
    const letter = written(event("order.confirmed", 1, order));
    expect(letter).toMatchObject({ userId, subject: "Your order is confirmed" });
    expect(letter.text).toBe(`Thank you. Your order ${orderId} is confirmed.

  2 x Mug (MUG): EUR 20.00
  2 x Mug (MUG): EUR 20.00
Total: EUR 1,999.00
`);
    expect(letter.html).toContain(orderId);
    expect(letter.html).toMatch(/2 &times; Mug <small>\(MUG\)<\/small><\/td>.*EUR 20\.00/);
    expect(letter.html).toContain("<b>EUR 1,999.00</b>");
  });

  test("to whoever was told that an order is pending, and now is that it came to nothing", () => {
    const letter = written(event("order.rejected", 1, order));
    expect(letter).toMatchObject({ userId, subject: "Your order could not be carried out" });
    for (const part of [letter.text, letter.html]) {
      expect(part).toContain(orderId);
      expect(part).toContain("nothing was bought, and no money is held");
    }
  });

  test("in a currency of any number of decimals", () => {
    const text = (currency: string) => written(event("order.confirmed", 1, { ...order, currency })).text;
    expect(text("JPY")).toContain("Total: JPY 199,900\n");
    expect(text("KWD")).toContain("Total: KWD 199.900\n");
  });

  test("to whoever registered", () => {
    const letter = written(event("user.registered", 1, registered));
    expect(letter).toMatchObject({ userId, subject: "Welcome" });
    expect(letter.text).toBe("Welcome to the shop, Ann.\n\nYour account is a@example.com.\n");
  });
});

describe("what people and products are called", () => {
  const evil = `<img src=x onerror="alert('1')">&amp;`;
  const inHtml = "&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;";

  test("is text in HTML, whatever it looks like", () => {
    const letters = [
      written(event("user.registered", 1, { ...registered, name: evil })),
      written(event("order.confirmed", 1, { ...order, lines: [{ ...line, name: evil }] })),
      written(event("order.rejected", 1, { ...order, lines: [{ ...line, sku: evil }] })),
    ];
    for (const { html } of letters) {
      expect(html).toContain(inHtml);
      expect(html).not.toContain("<img");
    }
  });

  test("is ASCII in HTML", () => {
    const name = "Ångström \u{1f600} 李";
    const { html } = written(event("order.confirmed", 1, { ...order, lines: [{ ...line, name }] }));
    expect(html).toMatch(/^[\n\x20-\x7e]*$/);
    expect(html).toContain("&#197;ngstr&#246;m &#128512; &#26446;");
  });

  test("stays on its line, and leaves the direction of writing alone", () => {
    const name = "Mug\r\nTotal: EUR 0.00\u2028\u202egum\u0007";
    const { text } = written(event("order.confirmed", 1, { ...order, lines: [{ ...line, name }] }));
    expect(text.split("\n")[2]).toBe("  2 x Mug Total: EUR 0.00 gum (MUG): EUR 20.00");
  });
});

test("what is stored of an event is what its letter needs, a fifth of what it says", () => {
  const told = event("order.confirmed", 1, order);
  const { text, html } = written(told);
  const { content } = notificationOf(told);
  expect(JSON.stringify(content)).not.toContain(line.productId);
  expect(JSON.stringify(content).length).toBeLessThan((text.length + html.length) / 4);
});

test("what was stored as a letter, by the version before, is that letter", () => {
  const letter = { subject: "Welcome", text: "Welcome.\n", html: "<p>Welcome.</p>" };
  expect(letterOf({ type: "user.registered", version: 1, content: null, ...letter })).toEqual(letter);
  expect(
    letterOf({ type: "user.registered", version: 1, content: null, ...letter, html: null }),
  ).toMatchObject({ html: "" });
});

describe("an event that cannot be told to anybody is an error that says why", () => {
  test.each([
    ["of another type", event("order.shipped", 1, order), "nobody is told of order.shipped.v1"],
    ["of another version", event("order.confirmed", 2, order), "nobody is told of order.confirmed.v2"],
    ["named like a member of every object", event("constructor", 1, {}), "nobody is told of constructor.v1"],
    ["without a user", event("order.confirmed", 1, { ...order, userId: undefined }), "userId is no id"],
    ["with half a total", event("order.rejected", 1, { ...order, total: 0.5 }), "total is no amount"],
    ["in no currency", event("order.confirmed", 1, { ...order, currency: "euro" }), "currency is none"],
    [
      "with a line that is none",
      event("order.confirmed", 1, { ...order, lines: [null] }),
      "lines are not those",
    ],
    [
      "of a registration without a name",
      event("user.registered", 1, { ...registered, name: 1 }),
      "name is no text",
    ],
  ])("%s", (_what, told, reason) => {
    expect(() => notificationOf(told)).toThrow(reason);
  });
});

test("what a later version has told is not known, what was stored as a letter is", () => {
  const letter = { subject: "s", text: "t" };
  expect(isKnown({ type: "order.shipped", version: 1, content: {}, subject: null, text: null })).toBe(false);
  expect(isKnown({ type: "order.confirmed", version: 2, content: {}, subject: null, text: null })).toBe(
    false,
  );
  expect(isKnown({ type: "order.confirmed", version: 1, content: {}, subject: null, text: null })).toBe(true);
  expect(isKnown({ type: "order.shipped", version: 1, content: null, ...letter })).toBe(true);
});
