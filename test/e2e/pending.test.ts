/** An outcome that is unknown at the deadline: 202, and the truth later at Location. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import pg from "pg";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, type Reply, Shopper, type User } from "../support/client.ts";
import { until } from "../support/until.ts";

let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
/** A rival that keeps everybody else from the decisions, until it ends its transaction. */
let rival: pg.Client;
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
beforeEach(async () => {
  rival = new pg.Client({ connectionString: shop.databases.urlOf("transaction-manager") });
  await rival.connect();
  await rival.query("begin");
  await rival.query("lock table decisions in access exclusive mode");
});
afterEach(() => rival.end());

/** Buys one of a new product while nothing can be decided. */
async function buyUndecided(key: string): Promise<{ reply: Reply; productId: string; path: string }> {
  const { id: productId } = await client.addProduct(admin);
  const startedAt = performance.now();
  const reply = expectStatus(await client.buy(ann, productId, { key }), 202);
  expect(performance.now() - startedAt).toBeLessThan(5_500);
  return { reply, productId, path: `/orders/${reply.body.id}` };
}
/** Types of the events that order has told of this order. */
async function told(orderId: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf("order") });
  await client.connect();
  try {
    const { rows } = await client.query<{ type: string }>(
      "select type from outbox where key = $1 and payload ->> 'orderId' = key::text order by sequence",
      [orderId],
    );
    return rows.map(({ type }) => type);
  } finally {
    await client.end();
  }
}
const statusOf = async (path: string) => expectStatus(await client.get(path, ann.token), 200).body.status;

test("202 names the order, which is pending until it is decided and then confirmed", async () => {
  const { reply, productId, path } = await buyUndecided("later-confirmed");
  expect(reply.body).toEqual({ id: expect.any(String), status: "pending" });
  expect(reply.headers).toMatchObject({ location: path, "retry-after": "1" });
  expect(await statusOf(path)).toBe("pending");
  expect((await client.get(`/products/${productId}`)).body).toMatchObject({ stock: 100, available: 99 });

  await rival.query("rollback");
  await until("the order is final", async () => (await statusOf(path)) !== "pending");
  const order = expectStatus(await client.get(path, ann.token), 200).body;
  expect(await told(order.id)).toEqual(["order.confirmed"]);
  expect(order).toMatchObject({ status: "confirmed", total: { amount: 990, currency: "EUR" } });
  expect(await client.quiet(productId)).toMatchObject({ stock: 99 });
  const replay = expectStatus(await client.buy(ann, productId, { key: "later-confirmed" }), 201);
  expect(replay).toMatchObject({
    body: { id: order.id },
    headers: { "idempotency-replayed": "true" },
  });
  expect(await client.quiet(productId)).toMatchObject({ stock: 99 });
});

test("202 whose transaction turns out aborted reads rejected: nothing is held, and the key is free", async () => {
  const { reply, productId, path } = await buyUndecided("later-rejected");
  await rival.query(
    "insert into decisions (tx_id, outcome, participants, settled) values ($1, 'abort', '{}', true)",
    [reply.body.id],
  );
  await rival.query("commit");
  await until("the order is final", async () => (await statusOf(path)) !== "pending");
  expect(await statusOf(path)).toBe("rejected");
  expect(await client.quiet(productId)).toMatchObject({ stock: 100, available: 100 });
  expect(await told(reply.body.id)).toEqual(["order.rejected"]);
  await until("its user is told", async () => {
    const { items } = expectStatus(await client.get("/notifications", ann.token), 200).body;
    return items.some(
      ({ type, text }: { type: string; text: string }) =>
        type === "order.rejected" && text.includes(reply.body.id),
    );
  });
  await until("the card is freed", async () => {
    const { body } = await client.get(path, ann.token);
    return body.payment.status === "voided";
  });

  const again = expectStatus(await client.buy(ann, productId, { key: "later-rejected" }), 201);
  expect(again.body.id).not.toBe(reply.body.id);
  expect(await statusOf(path)).toBe("rejected");
  expect(await client.quiet(productId)).toMatchObject({ stock: 99 });
});
