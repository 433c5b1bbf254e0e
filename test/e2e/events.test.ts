/** Events through the shop as clients see it, with and without Kafka: what was told has its effect, once. */
import { expect, test } from "@jest/globals";
import { audit } from "../../scripts/audit/audit.ts";
import { sharedKafka } from "../harness/kafka.ts";
import { ADMIN, startTestShop } from "../harness/shop.ts";
import { expectStatus, Shopper } from "../support/client.ts";
import { until } from "../support/until.ts";

const kafka = await sharedKafka();

async function tells(env: Record<string, string>): Promise<void> {
  const shop = await startTestShop({ env });
  const client = new Shopper(shop.url);
  try {
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
    await until("both are told", async () => (await told()).length === 2, 20_000);
    expect(await told()).toEqual(["order.confirmed", "user.registered"]);
    const nothingLeft = async () => {
      const lags = await shop.broker.call<{ events: number | null }[], object>("notification.eventsLag", {});
      return lags.length === 2 && lags.every(({ events }) => events === 0);
    };
    await until("nobody lags", nothingLeft);
    const report = await audit(shop.databases.urls, { eventsSettled: true });
    expect(report).toMatchObject({ ok: true });
    expect(report.invariants.find(({ id }) => id === "I5")).toMatchObject({ checked: 1 });
  } finally {
    client.close();
    await shop.stop();
  }
}

test("without Kafka a registration and a confirmed order reach their user, and an order that failed does not", () =>
  tells({ KAFKA_BROKERS: "" }));

kafka.describe("a shop with Kafka", () => {
  test("tells the same", () => tells({ KAFKA_BROKERS: kafka.brokers }), 60_000);
});
