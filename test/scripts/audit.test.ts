/** Each invariant is seen to fail when a row is tampered with, and to hold otherwise. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { DatabaseName } from "../../config/index.ts";
import { newId } from "../../lib/ids.ts";
import { type AuditOptions, audit } from "../../scripts/audit/audit.ts";
import { auditJson } from "../../scripts/audit/report.ts";
import type { Order } from "../../services/order/api.ts";
import type { Product } from "../../services/product/api.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { auditTampered, query, type Tampering } from "../support/tampering.ts";
import { until } from "../support/until.ts";

const user = { id: newId(), roles: ["user", "admin"] };
let databases: TestDatabases;
let orders: Order[];

/** Three confirmed orders over two products, one refused; then the shop stops, so that nobody repairs what we break. */
beforeAll(async () => {
  databases = await cloneDatabases();
  const shop = await startTestShop({ databases });
  try {
    const [red, blue] = await Promise.all([createProduct(shop, "RED"), createProduct(shop, "BLUE")]);
    const both = [red, blue].map((product) => ({ productId: product.id, quantity: 2 }));
    orders = await Promise.all([1, 2, 3].map(() => buy(shop, both, "tok_ok")));
    await expect(buy(shop, both, "tok_declined")).rejects.toMatchObject({ code: 402 });
    await shop.broker.call("product.remove", { id: blue.id }, { meta: { user } });
    await untilTaken();
  } finally {
    await shop.stop();
  }
});
afterAll(() => databases.drop());

const createProduct = (shop: TestShop, sku: string): Promise<Product> =>
  shop.broker.call(
    "product.create",
    { sku, name: sku, price: { amount: 250, currency: "GBP" }, stock: 10 },
    { meta: { user } },
  );

const buy = (shop: TestShop, items: object[], token: string): Promise<Order> =>
  shop.broker.call("order.place", { items, payment: { token } }, { meta: { user } });

const untilTaken = () =>
  until("every event is taken and every commit acknowledged", async () => {
    const [told] = await run("order", "select count(*)::int as n from outbox");
    const [taken] = await run("notification", "select count(*)::int as n from notifications");
    return told?.n === taken?.n && (await audit(databases.urls)).inDoubt === 0;
  });

const run = (name: DatabaseName, sql: string) => query(databases, name, sql);
const auditWith = (tampering: Tampering, options?: AuditOptions) =>
  auditTampered(
    databases,
    { ...tampering, sql: tampering.sql.replaceAll("ORDER", `'${orders[0]?.id}'`) },
    options,
  );

/** The violated invariant, its first violation, and nothing else violated. */
async function violated(id: string, tampering: Tampering): Promise<string> {
  const report = await auditWith(tampering);
  const failed = report.invariants.filter((invariant) => !invariant.ok);
  expect(failed.map((invariant) => invariant.id)).toEqual([id]);
  expect(report.ok).toBe(false);
  return failed[0]?.violations.join("\n") ?? "";
}

test("a shop at rest is clean, down to the last row", async () => {
  const report = await audit(databases.urls, { acknowledged: orders.map((order) => order.id) });
  expect(report).toMatchObject({ ok: true, inDoubt: 0, inFlight: 0 });
  expect(JSON.parse(auditJson(report))).toEqual({
    ok: true,
    inDoubt: 0,
    invariants: [
      { id: "I1", ok: true, checked: 2, violations: [] },
      { id: "I2", ok: true, checked: 3, violations: [] },
      { id: "I3", ok: true, checked: 3, violations: [] },
      { id: "I4", ok: true, checked: 4, violations: [] },
      { id: "I5", ok: true, checked: 3, violations: [] },
    ],
  });
});

describe("I1 fails when", () => {
  test.each([
    ["a unit appears", "products", "update products set available = available + 1 where sku = 'RED'"],
    [
      "a unit of a deleted product is gone",
      "products",
      "update products set available = available - 1 where sku = 'BLUE'",
    ],
    [
      "a unit is held that nobody took off what is available",
      "reservations",
      "insert into reservations (tx_id, state, product_ids, quantities) select gen_random_uuid(), 'prepared', array[id], array[1] from products where sku = 'RED'",
    ],
    [
      "an adjustment is lost",
      "stock_adjustments",
      "delete from stock_adjustments where id = (select min(id) from stock_adjustments)",
    ],
    ["stock was sold of no product", "products", "delete from products where sku = 'BLUE'"],
  ])("%s", async (_what, table, sql) => {
    expect(await violated("I1", { in: "product", table, sql })).toMatch(/RED|BLUE|does not exist/);
  });
});

describe("I2 fails when", () => {
  test.each<[string, DatabaseName, string, string, RegExp]>([
    [
      "a payment is lost",
      "payment",
      "payments",
      "delete from payments where tx_id = ORDER",
      /payment has no vote/,
    ],
    [
      "a payment was voided",
      "payment",
      "payments",
      "update payments set state = 'aborted' where tx_id = ORDER",
      /was voided/,
    ],
    [
      "a payment is too high",
      "payment",
      "payments",
      "update payments set amount = amount + 1 where tx_id = ORDER",
      /its total is 1000 GBP, its payment 1001 GBP/,
    ],
    [
      "a payment is in another currency",
      "payment",
      "payments",
      "update payments set currency = 'EUR' where tx_id = ORDER",
      /1000 EUR/,
    ],
    [
      "a card was charged for no order",
      "payment",
      "payments",
      `insert into payments (tx_id, state, amount, currency) values ('${newId()}', 'committed', 1, 'GBP')`,
      /there is no order/,
    ],
    [
      "the register says abort",
      "transaction-manager",
      "decisions",
      "update decisions set outcome = 'abort' where tx_id = ORDER",
      /the register says abort, order and product and payment committed/,
    ],
    [
      "the register has forgotten",
      "transaction-manager",
      "decisions",
      "delete from decisions where tx_id = ORDER",
      /the register has no decision/,
    ],
  ])("%s", async (_what, name, table, sql, sentence) => {
    expect(await violated("I2", { in: name, table, sql })).toMatch(sentence);
  });

  test("the order's lines are not those that were reserved", async () => {
    const sql = `update orders set lines = jsonb_set(jsonb_set(lines, '{0,quantity}', '1'), '{1,quantity}', '3') where id = ORDER`;
    expect(await violated("I2", { in: "order", table: "orders", sql })).toMatch(
      /not those of its reservation/,
    );
  });

  test("a refused order was charged for all the same", async () => {
    const report = await auditWith({
      in: "order",
      table: "orders",
      sql: "update orders set state = 'aborted' where id = ORDER",
    });
    const [, i2, , , i5] = report.invariants;
    expect(i2?.violations.join()).toMatch(/says commit, order aborted/);
    expect(i5?.violations.join()).toMatch(/aborted and has 1 events instead of 0/);
  });
});

describe("I3 fails when", () => {
  test("a total is not the sum of the lines", async () => {
    const sql = `update orders set lines = jsonb_set(lines, '{0,unitPrice}', '251') where id = ORDER`;
    expect(await violated("I3", { in: "order", table: "orders", sql })).toMatch(/lines add up to 1002/);
  });

  test("an order that was answered 201 is not there, or not confirmed", async () => {
    const [first, ...others] = orders.map((order) => order.id) as [string, ...string[]];
    const lost = randomUUID();
    const report = await auditWith(
      { in: "order", table: "orders", sql: "update orders set state = 'aborted' where id = ORDER" },
      { acknowledged: [lost, first, ...others] },
    );
    expect(report.invariants[2]?.violations).toEqual([
      `order ${lost} was acknowledged with 201, and it is not there`,
      `order ${first} was acknowledged with 201, and it is aborted`,
    ]);
  });
});

describe("I4", () => {
  const holdAgain = (seconds: number): Tampering => ({
    in: "payment",
    table: "payments",
    sql: `update payments set state = 'prepared', created_at = now() - interval '${seconds} seconds' where tx_id = ORDER`,
  });

  test("counts what is in doubt", async () => {
    expect(await auditWith(holdAgain(3))).toMatchObject({ ok: true, inDoubt: 1 });
  });

  test("fails when something is in doubt for more than a minute", async () => {
    expect(await violated("I4", holdAgain(61))).toMatch(/payment prepared for 61 s/);
  });

  test("fails when a commit is never acknowledged, or a debt never paid", async () => {
    const age = "= now() - interval '1 hour' where tx_id = ORDER";
    const unsettled = `update decisions set settled = false, decided_at ${age}`;
    const owed = `update payments set debt = 'capture', created_at ${age}`;
    expect(await violated("I4", { in: "transaction-manager", table: "decisions", sql: unsettled })).toMatch(
      /commit not acknowledged for 3600 s/,
    );
    expect(await violated("I4", { in: "payment", table: "payments", sql: owed })).toMatch(/owes a capture/);
  });

  test("does not count a transaction that settles while the audit looks", async () => {
    const settled = run("payment", "select pg_sleep(0.5)").then(() =>
      run("payment", "update payments set state = 'committed' where state = 'prepared'"),
    );
    const report = await auditWith(holdAgain(0), { settleMs: 5_000 });
    await settled;
    expect(report).toMatchObject({ ok: true, inDoubt: 0, inFlight: 1 });
  });
});

describe("I5 fails when", () => {
  test.each<[string, DatabaseName, string, string, RegExp]>([
    [
      "an event is lost",
      "order",
      "outbox",
      "delete from outbox where key = ORDER",
      /has 0 events|never wrote/,
    ],
    [
      "an event is told twice",
      "order",
      "outbox",
      "insert into outbox (type, version, key, payload) values ('order.confirmed', 1, ORDER, '{}')",
      /has 2 events instead of 1/,
    ],
    [
      "an event tells of no order",
      "order",
      "outbox",
      `insert into outbox (type, version, key, payload) values ('order.confirmed', 1, '${newId()}', '{}')`,
      /not there and has 1 events/,
    ],
    [
      "an event had no effect",
      "notification",
      "notifications",
      "delete from notifications where ctid = (select min(ctid) from notifications)",
      /had no effect/,
    ],
    [
      "an event was passed over",
      "notification",
      "inbox",
      "delete from inbox",
      /was passed, and notification has not taken it/,
    ],
    [
      "a confirmed order was told to be rejected",
      "order",
      "outbox",
      "insert into outbox (type, version, key, payload) values ('order.rejected', 1, ORDER, '{}')",
      /told to be rejected 1 times/,
    ],
  ])("%s", async (_what, name, table, sql, sentence) => {
    expect(await violated("I5", { in: name, table, sql })).toMatch(sentence);
  });
});

test("throws where a database cannot be read", async () => {
  const urls = { ...databases.urls, payment: `${databases.server}/no_such_database` };
  await expect(audit(urls)).rejects.toThrow(/the database of payment cannot be read: .*does not exist/);
});
