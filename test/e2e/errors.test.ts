/** The error table of the REST contract, as far as products and orders go: over HTTP, with every service. */
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { type Send, Shopper, type User } from "../support/client.ts";
import { expectProblem } from "../support/problem.ts";
import { until } from "../support/until.ts";

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
const nested = (depth: number): string => `{"items":${"[".repeat(depth)}${"]".repeat(depth)}}`;

type As = "anyone" | "ann" | "admin";
type Row = [
  what: string,
  method: string,
  path: () => string,
  as: As,
  send: () => Send,
  status: number,
  code: string,
];
const products = () => "/products";
const product = () => `/products/${mug.id}`;
const orders = () => "/orders";
const none = (): Send => ({});
const bodyOf = (make: () => unknown) => (): Send => ({ body: make() });
const query = (text: string) => () => `/products?${text}`;
const key = (value: string) => (): Send => ({ body: order(), headers: { "idempotency-key": value } });

const ROWS: Row[] = [
  ["a body that is no JSON", "POST", orders, "ann", bodyOf(() => "{"), 400, "malformed_request"],
  [
    "a body that is no UTF-8",
    "POST",
    orders,
    "ann",
    bodyOf(() => Buffer.from([0x7b, 0xff, 0x7d])),
    400,
    "malformed_request",
  ],
  ["a body nested too deep", "POST", orders, "ann", bodyOf(() => nested(21)), 400, "malformed_request"],
  ["a prototype key", "POST", orders, "ann", bodyOf(() => '{"__proto__":{"a":1}}'), 400, "malformed_request"],
  ["a malformed product id", "GET", () => "/products/1", "anyone", none, 400, "malformed_request"],
  [
    "an id in upper case",
    "GET",
    () => product().toUpperCase().replace("PRODUCTS", "products"),
    "anyone",
    none,
    400,
    "malformed_request",
  ],
  ["a malformed order id", "GET", () => "/orders/1", "ann", none, 400, "malformed_request"],
  ["a malformed user id", "GET", () => "/orders/user/me", "ann", none, 400, "malformed_request"],
  ["an empty key", "POST", orders, "ann", key(""), 400, "malformed_request"],
  ["a key with a space", "POST", orders, "ann", key("a b"), 400, "malformed_request"],
  ["a key of 256 characters", "POST", orders, "ann", key("k".repeat(256)), 400, "malformed_request"],
  ["a broken percent-encoding", "GET", query("q=%zz"), "anyone", none, 400, "malformed_request"],
  ["an order by nobody", "POST", orders, "anyone", bodyOf(order), 401, "unauthorized"],
  ["an order read by nobody", "GET", () => `/orders/${NOBODY}`, "anyone", none, 401, "unauthorized"],
  ["a product by nobody", "POST", products, "anyone", bodyOf(fields), 401, "unauthorized"],
  ["a bad token", "POST", orders, "anyone", () => ({ body: order(), token: "a.b.c" }), 401, "unauthorized"],
  [
    "a declined card",
    "POST",
    orders,
    "ann",
    bodyOf(() => order({ payment: { token: "tok_declined" } })),
    402,
    "payment_declined",
  ],
  ["a product by a customer", "POST", products, "ann", bodyOf(fields), 403, "forbidden"],
  ["an edit by a customer", "PUT", product, "ann", bodyOf(fields), 403, "forbidden"],
  [
    "a stock change by a customer",
    "POST",
    () => `${product()}/stock`,
    "ann",
    bodyOf(() => ({ delta: 1, reason: "x" })),
    403,
    "forbidden",
  ],
  ["a deletion by a customer", "DELETE", product, "ann", none, 403, "forbidden"],
  ["another user's orders", "GET", () => `/orders/user/${NOBODY}`, "ann", none, 403, "forbidden"],
  ["an unknown path", "GET", () => "/nothing", "anyone", none, 404, "not_found"],
  ["an unknown product", "GET", () => `/products/${NOBODY}`, "anyone", none, 404, "not_found"],
  [
    "an edit of an unknown product",
    "PUT",
    () => `/products/${NOBODY}`,
    "admin",
    bodyOf(() => fields({ sku: "X" })),
    404,
    "not_found",
  ],
  [
    "a stock change of an unknown product",
    "POST",
    () => `/products/${NOBODY}/stock`,
    "admin",
    bodyOf(() => ({ delta: 1, reason: "x" })),
    404,
    "not_found",
  ],
  [
    "a deletion of an unknown product",
    "DELETE",
    () => `/products/${NOBODY}`,
    "admin",
    none,
    404,
    "not_found",
  ],
  ["an unknown order", "GET", () => `/orders/${NOBODY}`, "ann", none, 404, "not_found"],
  ["a wrong method", "DELETE", orders, "ann", none, 405, "method_not_allowed"],
  ["PATCH of a product", "PATCH", product, "admin", bodyOf(() => ({ stock: 1 })), 405, "method_not_allowed"],
  [
    "XML wanted",
    "GET",
    products,
    "anyone",
    () => ({ headers: { accept: "application/xml" } }),
    406,
    "not_acceptable",
  ],
  ["too little stock", "POST", orders, "ann", bodyOf(() => line({ quantity: 6 })), 409, "insufficient_stock"],
  [
    "a price that changed",
    "POST",
    orders,
    "ann",
    bodyOf(() => order({ expectedTotal: { amount: 1, currency: "EUR" } })),
    409,
    "price_changed",
  ],
  [
    "a price in another currency",
    "POST",
    orders,
    "ann",
    bodyOf(() => order({ expectedTotal: { amount: 990, currency: "USD" } })),
    409,
    "price_changed",
  ],
  [
    "a product that is not sold",
    "POST",
    orders,
    "ann",
    bodyOf(() => line({ productId: NOBODY })),
    409,
    "product_gone",
  ],
  [
    "a SKU that is taken",
    "POST",
    products,
    "admin",
    bodyOf(() => fields({ sku: "TAKEN" })),
    409,
    "sku_taken",
  ],
  [
    "an edit to a SKU that is taken",
    "PUT",
    () => `/products/${dollars.id}`,
    "admin",
    bodyOf(() => fields({ sku: "TAKEN" })),
    409,
    "sku_taken",
  ],
  [
    "stock taken below nothing",
    "POST",
    () => `${product()}/stock`,
    "admin",
    bodyOf(() => ({ delta: -6, reason: "x" })),
    409,
    "stock_reserved",
  ],
  [
    "a stale version",
    "PUT",
    product,
    "admin",
    () => ({ body: fields(), headers: { "if-match": '"999"' } }),
    412,
    "version_stale",
  ],
  [
    "an If-Match of another kind",
    "PUT",
    product,
    "admin",
    () => ({ body: fields(), headers: { "if-match": '"abc"' } }),
    412,
    "version_stale",
  ],
  [
    "a body over 100 KB",
    "POST",
    orders,
    "ann",
    bodyOf(() => order({ pad: "x".repeat(101 * 1024) })),
    413,
    "body_too_large",
  ],
  [
    "a body over 100 KB when inflated",
    "POST",
    orders,
    "ann",
    () => ({ body: gzipSync("x".repeat(1e6)), headers: { "content-encoding": "gzip" } }),
    413,
    "body_too_large",
  ],
  ["a URL that is too long", "GET", query(`q=${"x".repeat(9_000)}`), "anyone", none, 414, "uri_too_long"],
  [
    "a body that is a form",
    "POST",
    orders,
    "ann",
    () => ({ body: "a=1", headers: { "content-type": "application/x-www-form-urlencoded" } }),
    415,
    "unsupported_media_type",
  ],
  [
    "an unknown encoding",
    "POST",
    orders,
    "ann",
    () => ({ body: "{}", headers: { "content-encoding": "zstd" } }),
    415,
    "unsupported_media_type",
  ],
  [
    "headers that are too large",
    "GET",
    products,
    "anyone",
    () => ({ headers: { "x-pad": "x".repeat(20_000) } }),
    431,
    "headers_too_large",
  ],
];

const tokenOf = (as: As): Send => (as === "anyone" ? {} : { token: as === "ann" ? ann.token : admin });

test.each(ROWS)(
  "%s (%s) is answered as the contract says",
  async (_what, method, path, as, send, status, code) => {
    expectProblem(await client.send(method, path(), { ...tokenOf(as), ...send() }), status, code);
  },
);

test("the extras of the table are there: Allow, WWW-Authenticate, what is left, what it costs", async () => {
  expect((await client.send("DELETE", "/orders", tokenOf("ann"))).headers.allow).toBe("OPTIONS, POST");
  expect((await client.post("/orders", order())).headers["www-authenticate"]).toMatch(/^Bearer /);
  expect((await client.post("/orders", line({ quantity: 6 }), ann.token)).body).toMatchObject({
    productId: mug.id,
    available: 5,
  });
  const changed = await client.post(
    "/orders",
    order({ expectedTotal: { amount: 1, currency: "EUR" } }),
    ann.token,
  );
  expect(changed.body.total).toEqual({ amount: 990, currency: "EUR" });
});

test("after all of these refusals the stock is what it was", async () => {
  expect(await client.quiet(mug.id)).toMatchObject({ stock: 5, available: 5, version: mug.version });
});

describe("a product", () => {
  test("is edited under If-Match, any tag of a list, and an ETag of before is stale", async () => {
    const made = await client.addProduct(admin, { sku: "EDITED" });
    const seen = await client.get(`/products/${made.id}`);
    const etag = seen.headers.etag as string;
    expect((await client.get(`/products/${made.id}`, undefined, { "if-none-match": etag })).status).toBe(304);
    const edit = (ifMatch: string) =>
      client.send("PUT", `/products/${made.id}`, {
        token: admin,
        body: fields({ sku: "EDITED", stock: 3 }),
        headers: { "if-match": ifMatch },
      });
    expect(await edit(etag)).toMatchObject({ status: 200, body: { version: made.version + 1, stock: 3 } });
    expectProblem(await edit(etag), 412, "version_stale");
    expectProblem(await edit(`W/"${made.version + 1}"`), 412, "version_stale");
    expect(await edit(`${etag}, "${made.version + 1}"`)).toMatchObject({ status: 200 });
    expect(await edit("*")).toMatchObject({ status: 200, body: { version: made.version + 3 } });
    const changed = await client.get(`/products/${made.id}`, undefined, { "if-none-match": etag });
    expect(changed.status).toBe(200);
  });

  test("keeps what is reserved: neither an edit nor shrinkage goes below it", async () => {
    const made = await client.addProduct(admin, { stock: 5 });
    const slow = client.buy(ann, made.id, { card: "tok_slow", quantity: 3 });
    await until(
      "three are reserved",
      async () => (await client.get(`/products/${made.id}`)).body.available === 2,
    );
    const put = { token: admin, body: fields({ sku: made.sku, stock: 2 }) };
    expectProblem(await client.send("PUT", `/products/${made.id}`, put), 409, "stock_reserved");
    const shrink = await client.post(`/products/${made.id}/stock`, { delta: -3, reason: "lost" }, admin);
    expectProblem(shrink, 409, "stock_reserved");
    expect(shrink.body).toMatchObject({
      detail: "The stock is 5 and cannot become 2: 3 units are reserved by orders on their way.",
      stock: 5,
      reserved: 3,
    });
    expect((await slow).status).toBe(201);
    expect(await client.quiet(made.id)).toMatchObject({ stock: 2 });
  });

  test("has a stock between nothing and the limit, whatever is added or taken away", async () => {
    const made = await client.addProduct(admin, { stock: 10 });
    const move = (delta: number) =>
      client.post(`/products/${made.id}/stock`, { delta, reason: "counted" }, admin);
    const below = await move(-100);
    expectProblem(below, 409, "stock_reserved");
    expect(below.body).toMatchObject({
      detail: "The stock is 10 and cannot become -90: no stock is below 0.",
      stock: 10,
      reserved: 0,
    });
    const above = await move(1e9);
    expectProblem(above, 422, "validation_failed");
    expect(above.body.errors).toMatchObject([{ pointer: "/delta", code: "number_max" }]);
    expect(await move(1e9 - 10)).toMatchObject({ status: 200, body: { stock: 1e9 } });
  });
});
