/** One Idempotency-Key, one order: over HTTP, with every service and a real PostgreSQL. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import type { RunResult } from "../../actors/protocol/messages.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, Shopper, type User } from "../support/client.ts";
import { until } from "../support/until.ts";

let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
beforeAll(async () => {
  shop = await startTestShop();
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
});

test("a repeat gets the same status and body, and says that it is a replay", async () => {
  const product = await client.addProduct(admin);
  const first = expectStatus(await client.buy(ann, product.id, { key: "replayed" }), 201);
  expect(first.headers["idempotency-replayed"]).toBeUndefined();
  for (let n = 0; n < 3; n++) {
    const again = await client.buy(ann, product.id, { key: "replayed" });
    expect(again.status).toBe(201);
    expect(again.text).toBe(first.text);
    expect(again.headers).toMatchObject({
      "idempotency-replayed": "true",
      location: first.headers.location,
    });
  }
  expect(await client.quiet(product.id)).toMatchObject({ stock: 99 });
});

test.each(["product", "order"])(
  "a refusal is heard when %s holds nothing any more, whatever it takes to tell it",
  async (service) => {
    const { id } = await client.addProduct(admin, { stock: 1 });
    const key = `refused-${service}`;
    const { db } = shop.broker.getLocalService(service) as unknown as { db: Queryable };
    const query = db.query.bind(db);
    db.query = (async (statement) => {
      if (!statement.name?.startsWith("abort-")) return query(statement);
      db.query = query;
      throw new Error("Connection terminated unexpectedly");
    }) as Queryable["query"];
    expectStatus(await client.buy(ann, id, { key, card: "tok_declined" }), 402);
    expect((await client.get(`/products/${id}`)).body).toMatchObject({ available: 1 });
    expectStatus(await client.buy(ann, id, { key }), 201);
  },
);

test("a client hears within five seconds that its key cannot be looked up", async () => {
  const { id } = await client.addProduct(admin);
  const rival = new pg.Client({ connectionString: shop.databases.urlOf("order") });
  await rival.connect();
  try {
    await rival.query("begin; lock table orders in access exclusive mode");
    const startedAt = performance.now();
    const reply = expectStatus(await client.buy(ann, id, { key: "cannot-look" }), 504);
    expect(performance.now() - startedAt).toBeLessThan(5_500);
    expect(reply.body.code).toBe("deadline_exceeded");
  } finally {
    await rival.end();
  }
  const again = () => client.buy(ann, id, { key: "cannot-look" });
  await until("the same key is good", async () => (await again()).status === 201);
});

test("fifty requests at once are one order: the others are replays or told that it is running", async () => {
  const product = await client.addProduct(admin);
  const replies = await Promise.all(
    Array.from({ length: 50 }, () => client.buy(ann, product.id, { key: "fifty" })),
  );
  const made = replies.filter(({ status, headers }) => status === 201 && !headers["idempotency-replayed"]);
  expect(made).toHaveLength(1);
  for (const reply of replies) {
    if (reply.status === 201) expect(reply.body.id).toBe(made[0]?.body.id);
    else {
      expect(reply).toMatchObject({ status: 409, body: { code: "request_in_progress" } });
      expect(Number(reply.headers["retry-after"])).toBeGreaterThan(0);
    }
  }
  expect(await client.quiet(product.id)).toMatchObject({ stock: 99 });
});

test("fifty requests at once at two nodes are one order", async () => {
  const product = await client.addProduct(admin);
  const other = await startTestShop({ databases: shop.databases });
  const neighbour = new Shopper(other.url);
  try {
    const replies = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        (i % 2 ? client : neighbour).buy(ann, product.id, { key: "two-nodes" }),
      ),
    );
    const ids = new Set(replies.filter(({ status }) => status === 201).map(({ body }) => body.id));
    expect(ids.size).toBe(1);
    for (const reply of replies)
      if (reply.status !== 201)
        expect(reply).toMatchObject({ status: 409, body: { code: "request_in_progress" } });
    expect(await client.quiet(product.id)).toMatchObject({ stock: 99 });
  } finally {
    neighbour.close();
    await other.stop();
  }
});

test("another body under a key that is done is 422 key_reused, and buys nothing", async () => {
  const product = await client.addProduct(admin);
  expectStatus(await client.buy(ann, product.id, { key: "reused" }), 201);
  for (const change of [
    { quantity: 2 },
    { card: "tok_slow" },
    { expectedTotal: { amount: 990, currency: "EUR" } },
  ])
    expect(await client.buy(ann, product.id, { key: "reused", ...change })).toMatchObject({
      status: 422,
      body: { code: "key_reused" },
    });
  expect(await client.quiet(product.id)).toMatchObject({ stock: 99 });
});

test("another body under a key that is running is 422 key_reused", async () => {
  const product = await client.addProduct(admin);
  const slow = client.buy(ann, product.id, { key: "running", card: "tok_slow" });
  await until(
    "it is running",
    async () => (await client.get(`/products/${product.id}`)).body.available === 99,
  );
  const rival = await client.buy(ann, product.id, { key: "running", card: "tok_slow", quantity: 2 });
  expectStatus(await slow, 201);
  expect(rival).toMatchObject({ status: 422, body: { code: "key_reused" } });
});

test("the same order written in another way is the same body", async () => {
  const product = await client.addProduct(admin);
  const headers = { "idempotency-key": "rewritten" };
  const line = { productId: product.id, quantity: 2 };
  const first = await client.post(
    "/orders",
    { items: [line], payment: { token: "tok_ok" } },
    ann.token,
    headers,
  );
  expectStatus(first, 201);
  const split = `{ "payment": {"token": "tok_ok"}, "items": [
    {"quantity": 1, "productId": "${product.id}"}, {"quantity": 1, "productId": "${product.id}"}] }`;
  const again = expectStatus(await client.post("/orders", split, ann.token, headers), 201);
  expect(again.body.id).toBe(first.body.id);
});

test("a 402, a 409 and a 503 free the key, for another body too", async () => {
  const product = await client.addProduct(admin, { stock: 3 });
  const key = "freed";
  expectStatus(await client.buy(ann, product.id, { key, card: "tok_declined" }), 402);
  expectStatus(await client.buy(ann, product.id, { key, quantity: 4 }), 409);
  expectStatus(await client.buy(ann, product.id, { key, card: "tok_error" }), 503);
  expectStatus(await client.buy(ann, "01900000-0000-7000-8000-000000000000", { key }), 409);
  const done = expectStatus(await client.buy(ann, product.id, { key, quantity: 3 }), 201);
  expect(done.headers["idempotency-replayed"]).toBeUndefined();
  expect(await client.quiet(product.id)).toMatchObject({ stock: 0 });
});

test("a key is its user's: another user's same key is another order", async () => {
  const bob = await client.register("Bob");
  const product = await client.addProduct(admin);
  const one = expectStatus(await client.buy(ann, product.id, { key: "shared" }), 201);
  const two = expectStatus(await client.buy(bob, product.id, { key: "shared" }), 201);
  expect(two.body.id).not.toBe(one.body.id);
  expect(two.headers["idempotency-replayed"]).toBeUndefined();
});

test("without a key every request is a new order", async () => {
  const product = await client.addProduct(admin);
  const [one, two] = [await client.buy(ann, product.id), await client.buy(ann, product.id)];
  expect(expectStatus(one, 201).body.id).not.toBe(expectStatus(two, 201).body.id);
});

test("a replay says what was bought, whatever became of the product and its price", async () => {
  const product = await client.addProduct(admin);
  const first = expectStatus(await client.buy(ann, product.id, { key: "kept" }), 201);
  expectStatus(await client.send("DELETE", `/products/${product.id}`, { token: admin }), 204);
  const again = expectStatus(await client.buy(ann, product.id, { key: "kept" }), 201);
  expect(again.text).toBe(first.text);
});

test("two runs for one key are two transactions and one order, at once and afterwards", async () => {
  const product = await client.addProduct(admin);
  const key = { userId: ann.id, idempotencyKey: "two-runs", bodyHash: "b" };
  const line = { productId: product.id, quantity: 1, unitPrice: 990 };
  const requests = {
    order: {
      ...key,
      lines: [{ ...line, sku: product.sku, name: product.name }],
      total: 990,
      currency: "EUR",
      createdAt: new Date().toISOString(),
    },
    product: { currency: "EUR", lines: [line] },
    payment: { userId: ann.id, amount: 990, currency: "EUR", token: "tok_ok" },
  };
  const options = { prepareMs: 3_000, answerMs: 5_000, durableAt: ["order"] };
  const run = () => shop.broker.call<RunResult, object>("transaction-manager.run", { requests, options });
  const results = [...(await Promise.all([run(), run(), run()])), await run()];
  expect(new Set(results.map(({ txId }) => txId)).size).toBe(4);
  const made = results.filter(({ outcome }) => outcome === "commit");
  expect(made).toHaveLength(1);
  for (const result of results)
    if (result.outcome !== "commit")
      expect(result).toMatchObject({
        outcome: "abort",
        refusals: [{ participant: "order", reason: "key_taken", detail: { holder: made[0]?.txId } }],
      });
  expect(await client.quiet(product.id)).toMatchObject({ stock: 99 });
});
