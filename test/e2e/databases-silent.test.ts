/**
 * Connections to the databases that go silent under load and are never closed, as where a machine vanishes and a standby
 * takes its address: they are given up, new ones are made, and no order is lost or placed twice.
 */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { TcpProxy } from "../../bench/drills/proxy.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { ADMIN, type TestShop } from "../harness/shop.ts";
import { type Reply, Shopper, type User } from "../support/client.ts";
import { startShopThroughProxy } from "../support/proxied.ts";
import { until } from "../support/until.ts";

const CLIENTS = 32;
const STOCK = 100_000;

let databases: TestDatabases;
let proxy: TcpProxy;
let shop: TestShop;
let client: Shopper;
let ann: User;
let productId: string;
beforeAll(async () => {
  databases = await cloneDatabases();
  ({ proxy, shop } = await startShopThroughProxy(databases));
  client = new Shopper(shop.url);
  const admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
  ({ id: productId } = await client.addProduct(admin, { stock: STOCK }));
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
  await proxy?.close();
  await databases?.drop();
});

test("the shop goes on by new connections; every key has its one order", async () => {
  const replies: Reply[] = [];
  const leftOut: string[] = [];
  shop.broker.localBus.on("$circuit-breaker.opened", ({ action }) => leftOut.push(action));
  const bought = () => replies.filter(({ status }) => status === 201).length;
  let isOpen = true;
  /** Each client goes on with the key it has until that has its order. */
  const clients = Array.from({ length: CLIENTS }, async (_, i) => {
    for (let n = 0; isOpen; n++)
      for (let status = 0; status !== 201; ) {
        const reply = await client.buy(ann, productId, { key: `${i}-${n}` });
        replies.push(reply);
        ({ status } = reply);
      }
  });
  await until("orders are placed", () => bought() > CLIENTS);
  proxy.abandon();
  const before = bought();
  await until("orders are placed again", () => bought() > before + 2 * CLIENTS, 25_000);
  isOpen = false;
  await Promise.all(clients);

  const failed = replies.filter(({ status }) => status !== 201);
  // The silence was met, and told from a bug and from a refusal.
  expect(failed.map(({ body }) => body.code)).toContain("deadline_exceeded");
  expect(failed.every(({ status }) => [202, 409, 503, 504].includes(status))).toBe(true);
  // A database that hangs is no fault of the node that asks it.
  expect(leftOut).not.toContain("order.place");
  const orders = new Set(replies.flatMap(({ status, body }) => (status === 201 ? [body.id] : [])));
  expect(await client.quiet(productId)).toMatchObject({ stock: STOCK - orders.size });
}, 60_000);
