/** The shop itself on three nodes over real NATS and Redis: what one node edits, and what happens when one is away. */
import { afterAll, describe as always, beforeAll, expect, test } from "@jest/globals";
import type { ServiceName } from "../../config/index.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import { startRedis } from "../../scripts/servers/redis.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { describeWith } from "../harness/servers.ts";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, Shopper } from "../support/client.ts";
import { until } from "../support/until.ts";

const FRONT: ServiceName[] = [
  ...(["api", "auth", "user", "order", "payment", "notification", "transaction-manager"] as const),
];

const [withNats, withRedis] = [await describeWith(startNats), await describeWith(startRedis)];
const describe = withNats === always ? withRedis : withNats;

describe("a front node and two product nodes", () => {
  let nats: Server;
  let redis: Server;
  let databases: TestDatabases;
  let front: TestShop;
  let products: TestShop[];
  let shopper: Shopper;
  let admin: string;

  const open = (services: ServiceName[], name: string) =>
    startTestShop({
      services,
      databases,
      env: {
        ...{ TRANSPORTER: nats.url, CACHER: redis.url, BALANCER: "rendezvous" },
        ...{ NAMESPACE: "three", NODEID: name, SERVICES: services.join(",") },
      },
    });

  beforeAll(async () => {
    [nats, redis, databases] = await Promise.all([startNats(), startRedis(), cloneDatabases()]);
    front = await open(FRONT, "front");
    products = [await open(["product"], "product-1"), await open(["product"], "product-2")];
    shopper = new Shopper(front.url);
    await until("the front is ready", async () => (await shopper.get("/health/ready")).status === 200);
    admin = await shopper.login(ADMIN.email, ADMIN.password);
  }, 60_000);
  afterAll(async () => {
    shopper.close();
    for (const shop of [front, ...products]) await shop.stop();
    await databases.drop();
    await Promise.all([nats.stop(), redis.stop()]);
  });

  test("forget a price that one of them has changed, on both", async () => {
    const mug = await shopper.addProduct(admin);
    const priceAt = async ({ broker }: TestShop) => {
      const items = [{ productId: mug.id, quantity: 1 }];
      return (await broker.call<{ total: number }, object>("product.quote", { items })).total;
    };
    for (const shop of products) expect(await priceAt(shop)).toBe(990);
    const { id, version: _, available: __, createdAt: ___, updatedAt: ____, ...fields } = mug;
    const body = { ...fields, price: { amount: 1_490, currency: "EUR" } };
    expectStatus(await shopper.send("PUT", `/products/${id}`, { token: admin, body }), 200);
    const editedAt = performance.now();
    for (const shop of products)
      await until("the new price is quoted", async () => (await priceAt(shop)) === 1_490);
    // Without the event it would take a minute.
    const tookMs = performance.now() - editedAt;
    expect(tookMs).toBeLessThan(2_000);
    if (process.env.SHOW_FIGURES) console.log(`an edit reached both nodes within ${tookMs.toFixed(1)} ms`);
  });

  test("list from the cache what an edit has not changed, and stock never", async () => {
    const word = `jug${Date.now()}`;
    const jug = await shopper.addProduct(admin, { name: word, stock: 5 });
    const list = async () => (await shopper.get(`/products?q=${word}`)).body.items;
    for (let i = 0; i < 3; i++) expect(await list()).toEqual([jug]);
    const keys = await products[0]?.broker.cacher?.getCacheKeys();
    expect(JSON.stringify(keys)).toContain(word);
    const ann = await shopper.register();
    expectStatus(await shopper.buy(ann, jug.id, { quantity: 2 }), 201);
    expect(await list()).toMatchObject([{ available: 3 }]);
    const { id, version: _, available: __, createdAt: ___, updatedAt: ____, ...fields } = jug;
    const body = { ...fields, name: `${word} of glass`, stock: 9 };
    await shopper.quiet(id);
    expectStatus(await shopper.send("PUT", `/products/${id}`, { token: admin, body }), 200);
    await until("the list shows it", async () => (await list())[0]?.name === `${word} of glass`, 2_000);
    expectStatus(await shopper.send("DELETE", `/products/${id}`, { token: admin }), 204);
    expect(await list()).toEqual([]);
  });

  test("are answered for when both are away: products from old copies, orders with a clear 503", async () => {
    const ann = await shopper.register("Bea");
    const cup = await shopper.addProduct(admin, { name: "Cup" });
    expectStatus(await shopper.get(`/products/${cup.id}`), 200);
    expectStatus(await shopper.get("/products?limit=1"), 200);
    expectStatus(await shopper.buy(ann, cup.id), 201);
    for (const shop of products.splice(0)) await shop.stop();

    const stale = expectStatus(await shopper.get(`/products/${cup.id}`), 200);
    expect(stale.body).toMatchObject({
      id: cup.id,
      name: "Cup",
      price: cup.price,
      stock: null,
      available: null,
    });
    expect(stale.headers["cache-status"]).toMatch(/^concord; hit; ttl=-\d+/);
    expect((await shopper.get("/products?limit=1")).headers).toHaveProperty("age");
    const refused = await shopper.buy(ann, cup.id, { key: "while-away" });
    expect(refused).toMatchObject({ status: 503, body: { code: "unavailable" } });
    expect(refused.headers["retry-after"]).toBe("1");

    products.push(await open(["product"], "product-1"));
    // As a client does, with the same key.
    await until("it can be bought again", async () => {
      const reply = await shopper.buy(ann, cup.id, { key: "while-away" });
      return reply.status === 201;
    });
    const fresh = await shopper.get(`/products/${cup.id}`);
    expect(fresh.headers).not.toHaveProperty("cache-status");
    expect(await shopper.quiet(cup.id)).toMatchObject({ stock: 98 });
  });
});
