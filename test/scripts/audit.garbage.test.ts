/** The audit of a shop whose old votes and decisions are deleted: clean, and no less strict about what is left. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Garbage } from "../../actors/transaction-manager/garbage.ts";
import type { DatabaseName } from "../../config/index.ts";
import { newId } from "../../lib/ids.ts";
import { audit } from "../../scripts/audit/audit.ts";
import type { Order } from "../../services/order/api.ts";
import type { Product } from "../../services/product/api.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { startTestShop } from "../harness/shop.ts";
import { auditTampered, query } from "../support/tampering.ts";
import { until } from "../support/until.ts";

const user = { id: newId(), roles: ["user", "admin"] };
let databases: TestDatabases;
let orders: Order[];

beforeAll(async () => {
  databases = await cloneDatabases();
  const shop = await startTestShop({ databases, env: { DECISION_RETENTION_HOURS: "0" } });
  try {
    const red: Product = await shop.broker.call(
      "product.create",
      { sku: "RED", name: "Red", price: { amount: 250, currency: "GBP" }, stock: 10 },
      { meta: { user } },
    );
    const items = [{ productId: red.id, quantity: 2 }];
    orders = [];
    for (let n = 0; n < 3; n++)
      orders.push(
        await shop.broker.call("order.place", { items, payment: { token: "tok_ok" } }, { meta: { user } }),
      );
    const service = shop.broker.getLocalService("transaction-manager") as unknown as { garbage: Garbage };
    await until("all is deleted", async () => {
      await service.garbage.tick();
      const left = await query<{ n: number }>(
        databases,
        "transaction-manager",
        "select count(*)::int as n from decisions",
      );
      return left[0]?.n === 0;
    });
    await until("every event is published", async () => {
      const left = await query(databases, "order", "select 1 from outbox where published_at is null");
      return left.length === 0;
    });
  } finally {
    await shop.stop();
  }
});
afterAll(() => databases.drop());

test("is clean, although decisions and reservations are gone", async () => {
  const acknowledged = orders.map((order) => order.id);
  expect(await query(databases, "product", "select quantity from sold_stock")).toEqual([{ quantity: "6" }]);
  expect(await audit(databases.urls, { acknowledged })).toMatchObject({ ok: true, inDoubt: 0, inFlight: 0 });
});

test.each<[string, string, DatabaseName, string, string, RegExp]>([
  [
    "I1",
    "a sold unit is counted twice",
    "product",
    "sold_stock",
    "update sold_stock set quantity = 7",
    /sold 7/,
  ],
  ["I1", "the sums of what was sold are lost", "product", "sold_stock", "delete from sold_stock", /sold 0/],
  [
    "I1",
    "a reservation was summed up and kept all the same",
    "product",
    "reservations",
    "insert into reservations (tx_id, state, product_ids, quantities) select ORDER, 'committed', array[id], array[2] from products",
    /sold 8/,
  ],
  [
    "I2",
    "a captured payment is deleted",
    "payment",
    "payments",
    "delete from payments where tx_id = ORDER",
    /no payment/,
  ],
  [
    "I2",
    "a card was charged for no order",
    "payment",
    "payments",
    "insert into payments (tx_id, state, amount, currency) values ('00000000-0000-7000-8000-000000000000', 'committed', 1, 'GBP')",
    /there is no order/,
  ],
  [
    "I3",
    "an order's line is lost",
    "order",
    "orders",
    "update orders set lines = '[]' where id = ORDER",
    /no lines/,
  ],
  [
    "I4",
    "a vote is in doubt where nobody can decide any more",
    "product",
    "reservations",
    "insert into reservations (tx_id, state) values (ORDER, 'prepared')",
    /reservation prepared, and the watermark has passed it/,
  ],
  [
    "I4",
    "a commit is not acknowledged where it could be deleted",
    "transaction-manager",
    "decisions",
    "insert into decisions (tx_id, outcome, participants, settled) values (ORDER, 'commit', '{order}', false)",
    /commit not acknowledged, and the watermark has passed it/,
  ],
])("%s fails when %s", async (id, _what, name, table, sql, sentence) => {
  const report = await auditTampered(databases, {
    in: name,
    table,
    sql: sql.replaceAll("ORDER", `'${orders[0]?.id}'`),
  });
  const failed = report.invariants.filter((invariant) => !invariant.ok);
  expect(failed.map((invariant) => invariant.id)).toEqual([id]);
  expect(failed[0]?.violations.join()).toMatch(sentence);
});
