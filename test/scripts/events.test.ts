/** `npm run events` against a shop whose consumer could not take two events. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { newId } from "../../lib/ids.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { command } from "../support/command.ts";
import { query } from "../support/tampering.ts";
import { until } from "../support/until.ts";

let databases: TestDatabases;
let shop: TestShop;
beforeAll(async () => {
  databases = await cloneDatabases();
  shop = await startTestShop({ databases, services: ["order", "user", "notification"] });
});
afterAll(async () => {
  await shop?.stop();
  await databases?.drop();
});

const events = (...args: string[]) => command(databases, "events.ts", ...args);

const tell = (version: number) =>
  query(
    databases,
    "order",
    `insert into outbox (type, version, key, payload) values ('order.confirmed', ${version}, '${newId()}',
       '{"orderId": "${newId()}", "userId": "${newId()}", "total": 1, "currency": "EUR", "lines": []}')`,
  );
const EVENT = {
  type: "order.confirmed",
  version: 1,
  key: newId(),
  payload: {},
  time: new Date().toISOString(),
};
const letters = () => query(databases, "notification", "select id from dead_letters order by failed_at");

test("lists, shows and replays dead letters, those that stay and those that are taken", async () => {
  expect(await events("list")).toMatchObject({ code: 0, out: "no dead letters\n" });
  await tell(7);
  await until("it is a dead letter", async () => (await letters()).length === 1);
  const [{ id }] = (await letters()) as [{ id: string }];

  const listed = await events("list");
  expect(listed.code).toBe(0);
  expect(listed.out).toMatch(
    new RegExp(`^${id} .* notification  order.confirmed.v7 .*version 7 of order.confirmed`),
  );
  const [json] = JSON.parse((await events("list", "--json")).out);
  expect(json).toMatchObject({ id, service: "notification", topic: "orders", attempts: 0, replaying: false });
  const shown = await events("show", id);
  expect(shown.out).toMatch(/consumer {2}notification\n/);
  expect(shown.out).toMatch(/"version":7/);

  expect(await events("replay", id)).toMatchObject({
    code: 1,
    out: expect.stringMatching(/0 taken\n.* failed again/),
  });
  // As after an upgrade that knows the version.
  await query(
    databases,
    "notification",
    `update dead_letters set body = replace(body, '"version":7', '"version":1')`,
  );
  expect(await events("replay", "--all")).toMatchObject({ code: 0, out: "1 taken\n" });
  expect(await letters()).toEqual([]);
  expect(await query(databases, "notification", "select count(*)::int as n from notifications")).toEqual([
    { n: 1 },
  ]);
});

test("lists events that a teller could not send, and has them sent again by it alone", async () => {
  const id = newId();
  await query(
    databases,
    "order",
    `insert into refused_events (id, topic, partition, position, body, error, attempts)
     values ('${id}', 'orders', 0, 7, '${JSON.stringify({ ...EVENT, id })}', 'it is too large', 1)`,
  );
  expect((await events("list")).out).toMatch(new RegExp(`^${id} .* order .*it is too large`));
  expect((await events("show", id)).out).toMatch(/teller {4}order\n/);
  // Nobody sends to Kafka here, so it is still there when the command gives up; that takes long.
  const replay = events("replay", id);
  const marked = await until("it is marked", async () => {
    const [row] = await query(
      databases,
      "order",
      "select id from refused_events where replay_at is not null",
    );
    return row;
  });
  expect(marked).toEqual({ id });
  await query(databases, "order", "delete from refused_events");
  expect(await replay).toMatchObject({ code: 0, out: "1 taken\n" });
});

test("shows who reads which outbox, and forgets one that is gone", async () => {
  await query(databases, "order", "insert into outbox_readers values ('retired', 0, '2026-01-02T03:04:05Z')");
  const listed = (await events("readers")).out;
  expect(listed).toMatch(/^order {2}notification {2}at \d+, \d+ behind, last asked 20/m);
  expect(listed).toMatch(/^order {2}retired {2}at 0, \d+ behind, last asked 2026-01-02T03:04:05.000Z$/m);
  expect(listed).toMatch(/^user {2}notification {2}at /m);
  const json = JSON.parse((await events("readers", "--json")).out);
  expect(json).toContainEqual(
    expect.objectContaining({ teller: "order", reader: "retired", position: 0, behind: expect.any(Number) }),
  );

  expect(await events("forget", "order", "retired")).toMatchObject({ code: 0 });
  expect((await events("readers")).out).not.toContain("retired");
  expect(await events("forget", "order", "retired")).toMatchObject({
    code: 1,
    err: expect.stringContaining("order's events have no reader retired: npm run events -- readers"),
  });
  expect(await events("forget", "cart", "retired")).toMatchObject({ code: 1 });
  expect(await events("forget", "order")).toMatchObject({
    code: 2,
    err: expect.stringContaining("forget needs a service and a reader of it"),
  });
});

test("says what is wrong with what it is asked for", async () => {
  expect(await events("show", newId())).toMatchObject({
    code: 1,
    err: expect.stringContaining("there is no dead letter"),
  });
  expect(await events("replay")).toMatchObject({
    code: 2,
    err: expect.stringContaining("replay needs an id"),
  });
  expect(await events("burn")).toMatchObject({
    code: 2,
    err: expect.stringContaining("usage: npm run events"),
  });
  expect(await events("show", "x")).toMatchObject({
    code: 2,
    err: expect.stringContaining("expected the id"),
  });
});
