/** The garbage rule on a whole shop: after pruning, every message ever sent may come again and changes no balance. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import type { Garbage } from "../../actors/transaction-manager/garbage.ts";
import type { DatabaseName } from "../../config/index.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../../scripts/audit/audit.ts";
import type { Order } from "../../services/order/api.ts";
import type { Product } from "../../services/product/api.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { type Random, seeded } from "../support/random.ts";
import { until } from "../support/until.ts";

interface Message {
  action: string;
  params: unknown;
}

const user = { id: newId(), roles: ["user", "admin"] };
const random: Random = seeded("messages after pruning");
const messages: Message[] = [];
let shop: TestShop;
let products: Product[];

beforeAll(async () => {
  shop = await startTestShop({
    services: ["order", "product", "payment", "notification", "transaction-manager"],
    env: { DECISION_RETENTION_HOURS: "0" },
  });
  const { broker } = shop;
  const call = broker.call.bind(broker) as (
    action: string,
    params: unknown,
    options?: object,
  ) => Promise<unknown>;
  broker.call = ((action: string, params: unknown, options?: object) => {
    if (/^(order|product|payment)\.(prepare|commit|abort)$/.test(action)) messages.push({ action, params });
    return call(action, params, options);
  }) as typeof broker.call;
  products = await Promise.all(["RED", "BLUE", "GREEN"].map((sku) => create(sku, 40)));
});
afterAll(() => shop.stop());

const create = (sku: string, stock: number): Promise<Product> =>
  shop.broker.call(
    "product.create",
    { sku, name: sku, price: { amount: 250, currency: "GBP" }, stock },
    { meta: { user } },
  );

const place = (token: string, idempotencyKey: string, quantity = 1): Promise<Order> =>
  shop.broker.call(
    "order.place",
    {
      items: products.map((product) => ({ productId: product.id, quantity })),
      payment: { token },
    },
    { meta: { user, idempotencyKey } },
  );

async function query<Row extends object>(name: DatabaseName, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf(name) });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

const dumps: [DatabaseName, string][] = [
  ["product", "select p::text as row from products p order by id"],
  ["product", "select s::text as row from sold_stock s order by product_id"],
  ["product", "select r::text as row from reservations r order by tx_id"],
  ["order", "select o::text as row from orders o order by id"],
  ["order", "select id::text as row from outbox order by id"],
  ["payment", "select p::text as row from payments p order by tx_id"],
  ["transaction-manager", "select d::text as row from decisions d order by tx_id"],
];
const snapshot = async () =>
  Promise.all(
    dumps.map(async ([name, text]) => (await query<{ row: string }>(name, text)).map(({ row }) => row)),
  );

const counts = async () => {
  const [product, order, payment, decision] = await Promise.all([
    query<{ n: number }>("product", "select count(*)::int as n from reservations"),
    query<{ n: number }>("order", "select count(*)::int as n from orders where state = 'aborted'"),
    query<{ n: number }>("payment", "select count(*)::int as n from payments where state = 'aborted'"),
    query<{ n: number }>("transaction-manager", "select count(*)::int as n from decisions"),
  ]);
  return [product, order, payment, decision].map((rows) => rows[0]?.n);
};

const garbage = (): Garbage =>
  (shop.broker.getLocalService("transaction-manager") as unknown as { garbage: Garbage }).garbage;

/** One more decision above all others, then everything below it is deleted. */
async function pruneAll(): Promise<void> {
  await place("tok_ok", newId());
  await until("all is deleted", async () => {
    await garbage().tick();
    return (await counts()).every((n) => n === 0);
  });
}

/** Sends each of these again, in random order, some of them together. Whatever is answered, nobody may believe it. */
async function replay(old: readonly Message[]): Promise<void> {
  const rest = [...old];
  while (rest.length > 0) {
    const some = Array.from({ length: Math.min(rest.length, 1 + random.int(6)) }, () =>
      rest.splice(random.int(rest.length), 1),
    ).flat();
    await Promise.all(some.map(({ action, params }) => shop.broker.call(action, params as object)));
  }
}

/** Commits, noes of each participant, and keys that go on to a second attempt. */
async function trade(): Promise<Map<string, Order>> {
  const bought = new Map<string, Order>();
  const buy = async (key: string) => bought.set(key, await place("tok_ok", key));
  await Promise.all(Array.from({ length: 4 }, () => buy(newId())));
  const declined = newId();
  await expect(place("tok_declined", declined)).rejects.toMatchObject({ code: 402 });
  await buy(declined);
  const greedy = newId();
  await expect(place("tok_ok", greedy, 999)).rejects.toMatchObject({ code: 409 });
  await buy(greedy);
  // The price changes behind the quotes that are remembered: a second attempt replaces the first under its key.
  await query("product", "update products set price = price + 1");
  const before = messages.length;
  await buy(newId());
  const entries = messages
    .slice(before)
    .filter(({ action }) => action === "order.prepare")
    .flatMap(({ params }) => (params as { entries: { request: { replaces?: string } }[] }).entries);
  expect(entries.some(({ request }) => request.replaces !== undefined)).toBe(true);
  return bought;
}

test("every message ever sent comes again after pruning, in any order, and changes nothing", async () => {
  await trade();
  await pruneAll();
  const before = await snapshot();
  expect(messages.length).toBeGreaterThan(30);
  for (let round = 0; round < 3; round++) await replay([...messages]);
  expect(await snapshot()).toEqual(before);
  expect(await audit(shop.databases.urls)).toMatchObject({ ok: true, inDoubt: 0 });
});

test("a retry with an Idempotency-Key after pruning gets the old order, and pays nothing", async () => {
  const bought = await trade();
  await pruneAll();
  const before = await snapshot();
  for (const [key, order] of bought) expect(await place("tok_ok", key)).toMatchObject({ id: order.id });
  expect(await snapshot()).toEqual(before);
});

test("messages that come again while others buy and the old is being deleted change no balance", async () => {
  const old = [...messages];
  let isOver = false;
  const pruning = (async () => {
    while (!isOver) await garbage().tick();
  })();
  const replaying = (async () => {
    while (!isOver) await replay(old);
  })();
  const bought = new Map<string, Order>();
  for (let round = 0; round < 2; round++) for (const [key, order] of await trade()) bought.set(key, order);
  isOver = true;
  await Promise.all([pruning, replaying]);
  expect(
    await audit(shop.databases.urls, { acknowledged: [...bought.values()].map(({ id }) => id) }),
  ).toMatchObject({
    ok: true,
    inDoubt: 0,
  });
  await pruneAll();
  expect(await audit(shop.databases.urls)).toMatchObject({ ok: true, inDoubt: 0 });
});
