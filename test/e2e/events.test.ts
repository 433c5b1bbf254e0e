/** Events through the shop as clients see it: what was told in a transaction has its effect, once. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { audit } from "../../scripts/audit/audit.ts";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, Shopper } from "../support/client.ts";
import { until } from "../support/until.ts";

let shop: TestShop;
let client: Shopper;
beforeAll(async () => {
  shop = await startTestShop();
  client = new Shopper(shop.url);
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
});

test("a registration and a confirmed order reach their user, and an order that failed does not", async () => {
  const admin = await client.login(ADMIN.email, ADMIN.password);
  const ann = await client.register();
  const mug = await client.addProduct(admin, { name: "Mug", stock: 10 });
  const order = (token: string) =>
    client.send("POST", "/orders", {
      token: ann.token,
      body: { items: [{ productId: mug.id, quantity: 1 }], payment: { token } },
    });
  expectStatus(await order("tok_declined"), 402);
  expectStatus(await order("tok_ok"), 201);
  const told = async () =>
    (await client.get("/notifications", ann.token)).body.items.map(({ type }: { type: string }) => type);
  await until("both are told", async () => (await told()).length === 2);
  expect(await told()).toEqual(["order.confirmed", "user.registered"]);
  expect((await audit(shop.databases.urls)).ok).toBe(true);
});
