/** A shop of two nodes on NATS: the commit protocol travels over their streams, and orders come out the same. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { newId } from "../../lib/ids.ts";
import { audit } from "../../scripts/audit/audit.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { describeWith } from "../harness/servers.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { until } from "../support/until.ts";

const describe = await describeWith(startNats);

describe("a shop of two nodes", () => {
  const user = { id: newId(), roles: ["user", "admin"] };
  let nats: Server;
  let databases: TestDatabases;
  let orders: TestShop;
  let goods: TestShop;

  beforeAll(async () => {
    nats = await startNats();
    databases = await cloneDatabases();
    const env = { TRANSPORTER: nats.url, NAMESPACE: `test-${newId()}` };
    orders = await startTestShop({
      services: ["order", "notification", "transaction-manager"],
      databases,
      env,
    });
    goods = await startTestShop({ services: ["product", "payment"], databases, env });
    await until("they see each other", () =>
      ["product", "payment"].every((name) => orders.broker.registry.hasService(name, goods.broker.nodeID)),
    );
  });
  afterAll(async () => {
    await goods?.stop();
    await orders?.stop();
    await databases?.drop();
    await nats?.stop();
  });

  test("places orders over streams, all or nothing", async () => {
    const product = await goods.broker.call<{ id: string }, object>(
      "product.create",
      { sku: "MUG", name: "Mug", price: { amount: 990, currency: "EUR" }, stock: 20 },
      { meta: { user } },
    );
    const carried = () => orders.broker.grpc?.peers?.carried ?? 0;
    const place = () =>
      orders.broker.call<{ status: string }, object>(
        "order.place",
        { items: [{ productId: product.id, quantity: 1 }], payment: { token: "tok_ok" } },
        { meta: { user } },
      );
    await until("a stream carries calls", async () => (await place()) && carried() > 0);
    const before = carried();
    const answers = await Promise.allSettled(Array.from({ length: 30 }, place));
    const confirmed = answers.filter(({ status }) => status === "fulfilled").length;
    expect(confirmed).toBeGreaterThan(0);
    expect(confirmed).toBeLessThan(20);
    for (const answer of answers)
      if (answer.status === "rejected") expect(answer.reason.type).toBe("insufficient_stock");
    // A quote each, and at least one batch per participant and phase.
    expect(carried() - before).toBeGreaterThanOrEqual(30 + 4);
    await until("nothing is in doubt", async () => (await audit(databases.urls as never)).ok);
  });

  test("answers participants' inquiries over streams, too", async () => {
    const inquire = () =>
      goods.broker.call("transaction-manager.outcome", { inquiries: [{ txId: newId(), waitedMs: 0 }] });
    await until("a stream carries inquiries", async () => {
      expect(await inquire()).toEqual(["pending"]);
      return (goods.broker.grpc?.peers?.carried ?? 0) > 0;
    });
  });
});
