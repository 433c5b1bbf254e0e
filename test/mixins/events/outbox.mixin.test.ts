/** An outbox over real PostgreSQL, without Kafka: what is published, in whatever order rows commit, is found by readers. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import pg from "pg";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { type EventsAnswer, outboxMixin } from "../../../mixins/events/outbox.mixin.ts";
import { markPublished, pruneOutbox } from "../../../mixins/events/outbox.rows.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { until } from "../../support/until.ts";

let databases: TestDatabases;
let db: Database;
let broker: ServiceBroker;
beforeAll(async () => {
  databases = await cloneDatabases(["order"]);
  db = openDatabase(databases.urlOf("order"), 4);
  broker = new ServiceBroker({ logger: false, skipProcessEventRegistration: true });
  broker.createService({
    name: "order",
    mixins: [outboxMixin],
    created() {
      this.db = db;
    },
  } as ServiceSchema);
  await broker.start();
});
afterAll(async () => {
  await broker?.stop();
  await db?.close();
  await databases?.drop();
});

const INSERT =
  "insert into outbox (type, version, key, payload) values ('told', 1, $1, '{}') returning sequence";

/** Writes an event and leaves its transaction open. */
async function begin(): Promise<{ client: pg.Client; key: string; sequence: number }> {
  const client = new pg.Client({ connectionString: databases.urlOf("order") });
  await client.connect();
  await client.query("begin");
  const key = newId();
  const { rows } = await client.query<{ sequence: string }>(INSERT, [key]);
  return { client, key, sequence: Number(rows[0]?.sequence) };
}
async function end({ client }: { client: pg.Client }, how: "commit" | "rollback"): Promise<void> {
  await client.query(how);
  await client.end();
}
const read = (after: number, limit = 1_000): Promise<EventsAnswer> =>
  broker.call("order.events", { consumer: "reader", after, limit });
const keysAfter = async (after: number): Promise<string[]> => (await read(after)).map(({ key }) => key);
const arrival = (key: string) =>
  until(`the event ${key} is published`, async () => (await read(0)).find((event) => event.key === key));
/** The highest position so far: a reader's offset. */
const head = async (): Promise<number> => (await read(0)).at(-1)?.position ?? 0;

test("a lower number that commits later is published, and until then holds up nobody", async () => {
  const offset = await head();
  const [early, late] = [await begin(), await begin()];
  expect(early.sequence).toBeLessThan(late.sequence);
  await end(late, "commit");
  const { position } = await arrival(late.key);
  expect(await keysAfter(offset)).toEqual([late.key]);
  await end(early, "commit");
  await arrival(early.key);
  // Whoever had read up to the later number finds the earlier one.
  expect(await keysAfter(position)).toEqual([early.key]);
});

test("a number that was never committed is a gap, and stalls nothing", async () => {
  const offset = await head();
  const [gap, next] = [await begin(), await begin()];
  await end(gap, "rollback");
  await end(next, "commit");
  await arrival(next.key);
  expect(await keysAfter(offset)).toEqual([next.key]);
});

test("positions become visible in their order, however many relays give them", async () => {
  const offset = await head();
  const sequences = await Promise.all(Array.from({ length: 40 }, begin)).then(async (events) => {
    await Promise.all(events.map((event) => end(event, "commit")));
    return events.map(({ sequence }) => sequence);
  });
  // A reader that follows them, and relays that mark the same rows at once, in pieces.
  const seen: number[] = [];
  const following = until("all are read", async () => {
    const events = await read(seen.at(-1) ?? offset, 3);
    seen.push(...events.map(({ position }) => position));
    return seen.length >= 40;
  });
  const pieces = sequences.flatMap((_, i) => (i % 4 === 0 ? [sequences.slice(i, i + 6)] : []));
  await Promise.all(pieces.flatMap((piece) => [markPublished(db, piece), markPublished(db, piece)]));
  await following;
  expect(seen).toEqual((await read(offset)).map(({ position }) => position));
  expect(new Set(seen).size).toBe(40);
});

test("a page is cut where its events are large, and is never empty", async () => {
  const offset = await head();
  const text = "x".repeat(1_500_000);
  for (let n = 0; n < 3; n++)
    await db.query({
      text: "insert into outbox (type, version, key, payload) values ('told', 1, $1, jsonb_build_object('text', $2::text))",
      values: [newId(), text],
    });
  await until(
    "they are published",
    async () => (await db.query({ text: "select from outbox where published_at is null" })).rowCount === 0,
  );
  const [first, ...others] = await read(offset);
  expect(others).toEqual([]);
  expect(await read(first?.position as number)).toHaveLength(1);
});

test("old events are deleted, but none that a reader has not taken, and none that is not published", async () => {
  const open = await begin();
  const [taken, kept] = await read(0);
  await db.query({
    text: "update outbox set created_at = now() - interval '8 days' where published_at is not null",
  });
  const prune = (readers: [string, number][]) => db.transaction((tx) => pruneOutbox(tx, 7, new Map(readers)));
  await prune([
    ["reader", taken?.position as number],
    ["other", 1_000_000],
  ]);
  expect((await read(0))[0]).toEqual(expect.objectContaining({ id: kept?.id }));
  // What a reader said before is not unsaid by a restart.
  await prune([["reader", 0]]);
  await prune([["reader", 1_000_000]]);
  expect(await read(0)).toEqual([]);
  const { rows } = await db.query<{ moved: boolean }>({
    text: "select pruned_before between now() - interval '7 days 1 minute' and now() - interval '7 days' as moved from relay",
  });
  expect(rows).toEqual([{ moved: true }]);
  await end(open, "commit");
  await arrival(open.key);
});

test("the lag is what is not published, and what a reader has not taken", async () => {
  const event = await begin();
  await end(event, "commit");
  const { position } = await arrival(event.key);
  const none = { events: 0, seconds: 0 };
  const lagAfter = (after: number) => broker.call<typeof none, object>("order.lagAfter", { after });
  expect(await lagAfter(position)).toEqual(none);
  expect(await lagAfter(position - 1)).toEqual({ events: 1, seconds: expect.any(Number) });
  expect((await lagAfter(position - 1)).seconds).toBeGreaterThan(0);
  await read(position);
  expect(await broker.call("order.outboxLag", {})).toEqual({
    ...none,
    readers: expect.arrayContaining([{ consumer: "reader", ...none }]),
  });
});
