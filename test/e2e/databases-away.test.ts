/** A database server that is gone: every request hears so, with 503 and when to try again, and none is a fault of ours. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import type { TcpProxy } from "../../bench/drills/proxy.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { ADMIN, type TestShop } from "../harness/shop.ts";
import { type Reply, Shopper, type User } from "../support/client.ts";
import { startShopThroughProxy } from "../support/proxied.ts";
import { until } from "../support/until.ts";

let databases: TestDatabases;
let proxy: TcpProxy;
let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
let productId: string;
let orderId: string;
let inDoubt: Reply;
beforeAll(async () => {
  databases = await cloneDatabases();
  ({ proxy, shop } = await startShopThroughProxy(databases));
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
  ({ id: productId } = await client.addProduct(admin));
  ({ id: orderId } = (await client.buy(ann, productId)).body);
  inDoubt = await goWhileInDoubt();
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
  await databases?.drop();
});

const PRICE = { amount: 990, currency: "EUR" };
const ABSENT = "01900000-0000-7000-8000-000000000000";
const PASSWORD = "correct horse battery";

/** Has the databases go while order has voted and nobody can decide; what that order's client hears. */
async function goWhileInDoubt(): Promise<Reply> {
  const [register, orders] = ["transaction-manager", "order"].map(
    (name) => new pg.Client({ connectionString: databases.urlOf(name as never) }),
  ) as [pg.Client, pg.Client];
  await Promise.all([register.connect(), orders.connect()]);
  try {
    await register.query("begin");
    await register.query("lock table decisions in access exclusive mode");
    const buying = client.buy(ann, productId, { key: "in-doubt" });
    await until("order has voted", async () => {
      const { rows } = await orders.query("select from orders where state = 'prepared'");
      return rows.length === 1;
    });
    await proxy.close();
    return await buying;
  } finally {
    await Promise.all([register.end(), orders.end()]);
  }
}

test("an order that is in doubt when they go: too late, and not 'nothing was done'", () => {
  expect({ status: inDoubt.status, code: inDoubt.body.code }).toEqual({
    status: 504,
    code: "deadline_exceeded",
  });
});

const requests: [what: string, send: () => ReturnType<Shopper["send"]>][] = [
  [
    "POST /register",
    () => client.post("/register", { email: "x@example.com", password: PASSWORD, name: "X" }),
  ],
  ["POST /login", () => client.post("/login", { email: ann.email, password: PASSWORD })],
  ["POST /token/refresh", () => client.post("/token/refresh", { refreshToken: "a".repeat(43) })],
  ["POST /logout", () => client.post("/logout", { refreshToken: "a".repeat(43) })],
  ["GET /profile", () => client.get("/profile", ann.token)],
  [
    "PUT /profile/password",
    () =>
      client.send("PUT", "/profile/password", {
        token: ann.token,
        body: { currentPassword: PASSWORD, newPassword: "battery horse correct" },
      }),
  ],
  ["GET /products", () => client.get("/products?limit=7")],
  ["GET /products/:id", () => client.get(`/products/${ABSENT}`)],
  [
    "POST /products",
    () => client.post("/products", { sku: "NEW", name: "N", price: PRICE, stock: 1 }, admin),
  ],
  [
    "PUT /products/:id",
    () =>
      client.send("PUT", `/products/${productId}`, {
        token: admin,
        body: { sku: "CUP", name: "Cup", price: PRICE, stock: 1 },
      }),
  ],
  [
    "POST /products/:id/stock",
    () => client.post(`/products/${productId}/stock`, { delta: 1, reason: "found one" }, admin),
  ],
  ["DELETE /products/:id", () => client.send("DELETE", `/products/${productId}`, { token: admin })],
  ["POST /orders with a key", () => client.buy(ann, productId, { key: "away" })],
  ["GET /orders/:id", () => client.get(`/orders/${orderId}`, ann.token)],
  ["GET /orders/user/:userId", () => client.get(`/orders/user/${ann.id}`, ann.token)],
  ["GET /notifications", () => client.get("/notifications", ann.token)],
  ["GET /admin/transactions/:txId", () => client.get(`/admin/transactions/${orderId}`, admin)],
  [
    "POST /admin/transactions/:txId/force",
    () => client.post(`/admin/transactions/${orderId}/force`, { outcome: "abort", reason: "away" }, admin),
  ],
];

test.each(requests)("%s", async (_what, send) => {
  const { status, headers, body } = await send();
  expect({ status, code: body.code, again: headers["retry-after"] }).toEqual({
    status: 503,
    code: "unavailable",
    again: expect.stringMatching(/^\d+$/),
  });
});

test("POST /orders without a key: nobody can say yet what became of it", async () => {
  const { status, headers, body } = await client.buy(ann, productId);
  expect({ status, code: body.code, again: headers["retry-after"] }).toEqual({
    status: 504,
    code: "deadline_exceeded",
    again: "1",
  });
});

test("GET /admin/transactions says who could not be asked", async () => {
  const { status, body } = await client.get("/admin/transactions", admin);
  expect({ status, unreachable: body.unreachable.map(({ name }: { name: string }) => name) }).toEqual({
    status: 200,
    unreachable: ["order", "payment", "product", "transaction-manager"],
  });
});
