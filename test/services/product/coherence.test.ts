/** Replicas of product that hear nothing of each other: an edit at one reaches what another remembers by the outbox alone. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import { newId } from "../../../lib/ids.ts";
import { openDatabase } from "../../../mixins/database.mixin.ts";
import { Follower } from "../../../mixins/events/follower.ts";
import type { Product, Quote } from "../../../services/product/api.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { until } from "../../support/until.ts";

const meta = { user: { id: newId(), roles: ["user", "admin"] } };
/** The loop's pause and the work around it, on a machine that does other things too. */
const DELAY_MS_MAX = 2_000;

let databases: TestDatabases;
let here: TestShop;
let there: TestShop;
beforeAll(async () => {
  databases = await cloneDatabases();
  const options = { services: ["product"] as const, databases, env: { CACHER: "memory" } };
  here = await startTestShop(options);
  there = await startTestShop(options);
});
afterAll(async () => {
  await there?.stop();
  await here?.stop();
  await databases?.drop();
});

const fields = (name: string, amount: number) => ({
  sku: "MUG",
  name,
  description: "",
  price: { amount, currency: "EUR" },
  stock: 10,
});
const call = <Result>(shop: TestShop, action: string, params: object) =>
  shop.broker.call<Result, object>(action, params, { meta });
const priceAt = async (shop: TestShop, productId: string): Promise<number | undefined> =>
  (await call<Quote>(shop, "product.quote", { items: [{ productId, quantity: 1 }] }).catch(() => undefined))
    ?.total;
const namesAt = async (shop: TestShop): Promise<string[]> =>
  (await call<{ items: Product[] }>(shop, "product.list", { q: "mug" })).items.map(({ name }) => name);
const followerOf = ({ broker }: TestShop): Follower =>
  (broker.getLocalService("product") as unknown as { follower: Follower }).follower;

test("a new product, an edit and a removal are seen by the other within a moment, prices and searches alike", async () => {
  expect(await namesAt(there)).toEqual([]);
  const { id } = await call<Product>(here, "product.create", fields("Mug", 990));
  await until("its search shows the product", async () => (await namesAt(there)).length === 1, DELAY_MS_MAX);
  expect(await priceAt(there, id)).toBe(990);

  await call(here, "product.replace", { id, ...fields("Blue mug", 1_190) });
  await until("it quotes the new price", async () => (await priceAt(there, id)) === 1_190, DELAY_MS_MAX);
  await until(
    "its search shows the new name",
    async () => (await namesAt(there))[0] === "Blue mug",
    DELAY_MS_MAX,
  );
  const measured = followerOf(there).takeDelaySeconds();
  expect(measured).toBeGreaterThan(0);
  expect(measured).toBeLessThan(DELAY_MS_MAX / 1_000);

  await call(here, "product.remove", { id });
  await until(
    "it quotes the product no more",
    async () => (await priceAt(there, id)) === undefined,
    DELAY_MS_MAX,
  );
  expect(await namesAt(there)).toEqual([]);
});

test("every change of the catalogue is told, with the product as it is then, and sales are not", async () => {
  const { id } = await call<Product>(here, "product.create", { ...fields("Cup", 500), sku: "CUP" });
  await call(here, "product.adjustStock", { id, delta: 5, reason: "goods in" });
  await call(here, "product.replace", { id, ...fields("Cup", 600), sku: "CUP", stock: 3 });
  await call(here, "product.remove", { id });
  const db = openDatabase(databases.urlOf("product"), 1);
  try {
    const { rows } = await db.query({
      text: "select type, payload from outbox where key = $1 order by sequence",
      values: [id],
    });
    const cup = {
      productId: id,
      sku: "CUP",
      name: "Cup",
      price: 500,
      currency: "EUR",
      stock: 10,
      version: 1,
    };
    expect(rows).toEqual([
      { type: "product.created", payload: cup },
      { type: "product.changed", payload: { ...cup, stock: 15 } },
      { type: "product.changed", payload: { ...cup, price: 600, stock: 3, version: 2 } },
      { type: "product.removed", payload: { productId: id, sku: "CUP" } },
    ]);
  } finally {
    await db.close();
  }
});

test("a follower sees an event with a lower number that commits later, and each once", async () => {
  const seen: number[] = [];
  const db = openDatabase(databases.urlOf("product"), 1);
  const [client, late] = [0, 1].map(
    () => new pg.Client({ connectionString: databases.urlOf("product") }),
  ) as [pg.Client, pg.Client];
  const tell = async (by: pg.Client): Promise<number> => {
    const { rows } = await by.query(
      "insert into outbox (type, version, key, payload) values ('told', 1, gen_random_uuid(), '{}') returning sequence",
    );
    return Number(rows[0].sequence);
  };
  try {
    await Promise.all([client.connect(), late.connect()]);
    await late.query("begin");
    const early = await tell(late);
    const follower = new Follower(db, async (events) => seen.push(...events.map(({ sequence }) => sequence)));
    await follower.tick();
    expect(seen).not.toContain(early);
    const next = await tell(client);
    await follower.tick();
    expect(seen.at(-1)).toBe(next);
    await late.query("commit");
    await follower.tick();
    expect(seen.at(-1)).toBe(early);
    await follower.tick();
    expect(new Set(seen).size).toBe(seen.length);
  } finally {
    await Promise.all([client.end(), late.end(), db.close()]);
  }
});
