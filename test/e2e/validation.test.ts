/** 422: what can be parsed but is wrong, with a pointer to the fault. Over HTTP, with every service. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { Shopper, type User } from "../support/client.ts";
import { expectProblem } from "../support/problem.ts";

const NOBODY = "01900000-0000-7000-8000-000000000000";

let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
let mug: { id: string; sku: string; version: number };
let dollars: { id: string };
beforeAll(async () => {
  shop = await startTestShop();
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
  mug = await client.addProduct(admin, { sku: "TAKEN", stock: 5 });
  dollars = await client.addProduct(admin, { price: { amount: 5, currency: "USD" } });
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
});

const fields = (changes: object = {}) => ({
  sku: "NEW",
  name: "New",
  price: { amount: 1, currency: "EUR" },
  stock: 1,
  ...changes,
});
const order = (changes: object = {}) => ({
  items: [{ productId: mug.id, quantity: 1 }],
  payment: { token: "tok_ok" },
  ...changes,
});
const line = (changes: object) => order({ items: [{ productId: mug.id, quantity: 1, ...changes }] });
const products = () => "/products";
const product = () => `/products/${mug.id}`;
const orders = () => "/orders";
const query = (text: string) => () => `/products?${text}`;

const INVALID: [what: string, path: () => string, body: () => unknown, pointer: string][] = [
  ["an empty order", orders, () => ({}), "/items"],
  ["no lines", orders, () => order({ items: [] }), "/items"],
  ["a list for a body", orders, () => [], ""],
  ["no card", orders, () => order({ payment: {} }), "/payment/token"],
  ["a price sent by the client", orders, () => line({ unitPrice: 1 }), "/items/0/unitPrice"],
  ["an unknown member", orders, () => order({ coupon: "x" }), "/coupon"],
  ["a userId", orders, () => order({ userId: NOBODY }), "/userId"],
  ["quantity 0", orders, () => line({ quantity: 0 }), "/items/0/quantity"],
  ["a negative quantity", orders, () => line({ quantity: -1 }), "/items/0/quantity"],
  ["half a unit", orders, () => line({ quantity: 0.5 }), "/items/0/quantity"],
  ["a quantity in letters", orders, () => line({ quantity: "1" }), "/items/0/quantity"],
  ["more than 100,000 units", orders, () => line({ quantity: 100_001 }), "/items/0/quantity"],
  [
    "two lines of one product that are too many",
    orders,
    () => order({ items: [mug, mug].map(({ id }) => ({ productId: id, quantity: 60_000 })) }),
    "/items/1/quantity",
  ],
  [
    "a quantity above 2^53",
    orders,
    () => `{"items":[{"productId":"${mug.id}","quantity":1e300}],"payment":{"token":"tok_ok"}}`,
    "/items/0/quantity",
  ],
  ["a product id that is none", orders, () => line({ productId: "mug" }), "/items/0/productId"],
  [
    "mixed currencies",
    orders,
    () => order({ items: [mug, dollars].map(({ id }) => ({ productId: id, quantity: 1 })) }),
    "/items/1/productId",
  ],
  [
    "mixed currencies behind two lines of one product",
    orders,
    () =>
      order({
        items: [mug.id, mug.id.toUpperCase(), dollars.id].map((productId) => ({ productId, quantity: 1 })),
      }),
    "/items/2/productId",
  ],
  ["U+0000 in the card token", orders, () => order({ payment: { token: "tok\0" } }), "/payment/token"],
  [
    "half a character in the card token",
    orders,
    () => '{"items":[],"payment":{"token":"\\ud800"}}',
    "/payment/token",
  ],
  [
    "1,001 products",
    orders,
    () =>
      order({
        items: Array.from({ length: 1_001 }, (_, i) => ({
          productId: NOBODY.slice(0, -4) + String(i).padStart(4, "0"),
          quantity: 1,
        })),
      }),
    "/items",
  ],
  [
    "a negative expectedTotal",
    orders,
    () => order({ expectedTotal: { amount: -1, currency: "EUR" } }),
    "/expectedTotal/amount",
  ],
  [
    "a currency in lower case",
    orders,
    () => order({ expectedTotal: { amount: 1, currency: "eur" } }),
    "/expectedTotal/currency",
  ],
  ["no SKU", products, () => fields({ sku: "" }), "/sku"],
  ["a SKU of 65 characters", products, () => fields({ sku: "🦊".repeat(65) }), "/sku"],
  ["a SKU with a line break", products, () => fields({ sku: "A\nB" }), "/sku"],
  ["a name with a control character", products, () => fields({ name: "Mug \u0085" }), "/name"],
  ["a price of 0", products, () => fields({ price: { amount: 0, currency: "EUR" } }), "/price/amount"],
  [
    "a price above the limit",
    products,
    () => fields({ price: { amount: 90_000_001, currency: "EUR" } }),
    "/price/amount",
  ],
  [
    "a price in fractions",
    products,
    () => fields({ price: { amount: 1.5, currency: "EUR" } }),
    "/price/amount",
  ],
  [
    "a currency that is none",
    products,
    () => fields({ price: { amount: 1, currency: "ZZZ" } }),
    "/price/currency",
  ],
  ["negative stock", products, () => fields({ stock: -1 }), "/stock"],
  ["a name that is a number", products, () => fields({ name: 1 }), "/name"],
  ["a version sent by the client", products, () => fields({ version: 7 }), "/version"],
  ["no delta", () => `${product()}/stock`, () => ({ reason: "x" }), "/delta"],
  ["a delta of 0", () => `${product()}/stock`, () => ({ delta: 0, reason: "x" }), "/delta"],
  ["no reason", () => `${product()}/stock`, () => ({ delta: 1 }), "/reason"],
];

const QUERIES: [what: string, path: () => string, parameter: string][] = [
  ["limit=0", query("limit=0"), "limit"],
  ["limit=101", query("limit=101"), "limit"],
  ["limit=ten", query("limit=ten"), "limit"],
  ["a limit in hexadecimals", query("limit=0x10"), "limit"],
  ["a limit with an exponent", query("limit=1e1"), "limit"],
  ["a limit behind a blank", query("limit=%2020"), "limit"],
  ["limit twice", query("limit=1&limit=2"), "limit"],
  ["an unknown parameter", query("page=2"), "page"],
  ["an unknown parameter without a value", query("page="), "page"],
  ["an unknown sort", query("sort=stock"), "sort"],
  ["a price filter without a currency", query("minPrice=1"), "currency"],
  ["a price filter in fractions", query("currency=EUR&maxPrice=1.5"), "maxPrice"],
  ["U+0000 in q", query("q=%00"), "q"],
  ["a q of 201 characters", query(`q=${encodeURIComponent("🦊".repeat(201))}`), "q"],
  ["a cursor that is none", query("cursor=nonsense"), "cursor"],
  ["an empty currency beside a price", query("minPrice=1&currency="), "currency"],
  ["a limit on orders", () => `/orders/user/${ann.id}?limit=1000`, "limit"],
  ["a cursor that is none on orders", () => `/orders/user/${ann.id}?cursor=x`, "cursor"],
];

describe("422 points to the fault:", () => {
  test.each(INVALID)("%s", async (_what, path, body, pointer) => {
    const token = path() === "/orders" ? ann.token : admin;
    const reply = await client.post(path(), body(), token);
    expectProblem(reply, 422, "validation_failed");
    expect(reply.body.errors.map((fault: { pointer: string }) => fault.pointer)).toContain(pointer);
  });

  test.each(QUERIES)("%s", async (_what, path, parameter) => {
    const reply = await client.get(path(), ann.token);
    expectProblem(reply, 422, "validation_failed");
    expect(reply.body.errors.map((fault: { parameter: string }) => fault.parameter)).toContain(parameter);
  });

  test.each([
    ["products", () => "/products", "limit=&cursor=&q=&sort=&currency=&minPrice=&maxPrice="],
    ["products with a currency", () => "/products", "minPrice=&maxPrice=&currency=EUR"],
    ["orders", () => `/orders/user/${ann.id}`, "limit=&cursor="],
    ["notifications", () => "/notifications", "limit=&cursor"],
    ["transactions", () => "/admin/transactions", "state=&limit=&cursor="],
  ])(
    "and not to a parameter of %s that is empty, which is one that is not there",
    async (_what, path, text) => {
      const token = path() === "/admin/transactions" ? admin : ann.token;
      const currency = text.includes("EUR") ? "?currency=EUR" : "";
      const [empty, absent] = [
        await client.get(`${path()}?${text}`, token),
        await client.get(`${path()}${currency}`, token),
      ];
      expect(empty.status).toBe(200);
      expect(empty.body).toEqual(absent.body);
    },
  );

  test("a cursor of another list", async () => {
    const page = await client.get("/products?limit=1");
    const reply = await client.get(`/products?limit=1&sort=price&cursor=${page.body.nextCursor}`);
    expectProblem(reply, 422, "validation_failed");
  });
});

test("limits are in characters, not in UTF-16 units", async () => {
  const made = await client.addProduct(admin, { sku: "🦊".repeat(64), name: "🦊".repeat(200) });
  const found = await client.get(`/products?q=${encodeURIComponent(made.name)}`);
  expect(found).toMatchObject({ status: 200, body: { items: [{ id: made.id }] } });
});

test("a cursor that is handed out is taken, however long the name it stands for", async () => {
  const made = await client.addProduct(admin, { name: "🦊".repeat(200) });
  const database = new pg.Client({ connectionString: shop.databases.urlOf("product") });
  await database.connect();
  const rename = (name: string) =>
    database.query("update products set name = $2 where id = $1", [made.id, name]);
  try {
    for (const [sort, name] of [
      ["-name", "🦊".repeat(200)],
      ["name", "\u0001".repeat(200)], // names of before they were refused
    ] as const) {
      await rename(name);
      const page = await client.get(`/products?limit=1&sort=${sort}`);
      expect(page.body.items).toMatchObject([{ name }]);
      const next = await client.get(`/products?limit=1&sort=${sort}&cursor=${page.body.nextCursor}`);
      expect(next).toMatchObject({ status: 200, body: { items: [{ id: expect.any(String) }] } });
    }
  } finally {
    await rename("Mug");
    await database.end();
  }
});
