/** An outbox over real PostgreSQL, without Kafka: what is published, in whatever order rows commit, is found by readers. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import pg from "pg";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase, type Queryable } from "../../../mixins/database.mixin.ts";
import { type EventsAnswer, outboxMixin } from "../../../mixins/events/outbox.mixin.ts";
import {
  eventsAfter,
  noteReader,
  outboxLag,
  pruneOutbox,
  publishNext,
} from "../../../mixins/events/outbox.rows.ts";
import { keepRefused, refusedToReplay } from "../../../mixins/events/relay.rows.ts";
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

const open = async (): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: databases.urlOf("order") });
  await client.connect();
  return client;
};

/** Writes an event and leaves its transaction open. */
async function begin(): Promise<{ client: pg.Client; key: string; sequence: number }> {
  const client = await open();
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
const head = async () =>
  (await db.query<{ last: number }>({ text: "select coalesce(max(position), 0) as last from outbox" }))
    .rows[0]?.last as number;

/** Of this database: other test files have others. */
const locks = async (which: string): Promise<number> =>
  (
    await db.query<{ n: number }>({
      text: `select count(*)::int as n from pg_locks where locktype = 'advisory' and ${which}
             and database = (select oid from pg_database where datname = current_database())`,
    })
  ).rows[0]?.n as number;

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

test("positions become visible in their order: whoever gives some waits for those given before", async () => {
  const offset = await head();
  const slow = await open();
  try {
    await slow.query("begin");
    const [first, second] = [await begin(), await begin()];
    await end(first, "commit");
    // Its relay is one whose commit is slow; at the same time the other's rows are marked, by two relays at once.
    await publishNext(slow as unknown as Queryable, 250);
    const given = await slow.query("select position from outbox where sequence = $1", [first.sequence]);
    await end(second, "commit");
    const marking = publishNext(db, 250);
    await until("both relays wait", async () => (await locks("not granted")) >= 2);
    expect(await keysAfter(offset)).toEqual([]);
    await slow.query("commit");
    await marking;
    await arrival(second.key);
    await until("the other relay has nothing left to do", async () => (await locks("true")) === 0);
    // And what the slow one has marked keeps its position.
    expect((await arrival(first.key)).position).toBe(given.rows[0].position);
    expect(await keysAfter(offset)).toEqual([first.key, second.key]);
  } finally {
    await slow.end();
  }
});

test("positions follow the numbers, wherever the rows lie", async () => {
  const offset = await head();
  const key = newId();
  // As after deletions, whose room is used again.
  await db.query({
    text: `insert into outbox (sequence, type, version, key, payload) overriding system value
           select 1000000 - n, 'told', 1, $1, '{}' from generate_series(1, 240) as n`,
    values: [key],
  });
  const numbers = async () =>
    (
      await db.query<{ sequence: number }>({
        text: "select sequence from outbox where key = $1 and position > $2 order by position",
        values: [key, offset],
      })
    ).rows.map(({ sequence }) => sequence);
  await until("they are published", async () => (await numbers()).length === 240);
  expect(await numbers()).toEqual((await numbers()).sort((one, other) => one - other));
});

test("a backlog is published without pauses: after a full batch comes the next", async () => {
  const relay = () => (broker.getLocalService("order") as unknown as { relay(): Promise<boolean> }).relay();
  await db.query({
    text: `insert into outbox (type, version, key, payload)
           select 'backlog', 1, gen_random_uuid(), '{}' from generate_series(1, 5000)`,
  });
  // The loop takes part.
  expect(await relay()).toBe(true);
  await until("all is published", async () => (await outboxLag(db)).events === 0);
  expect(await relay()).toBe(false);
  await db.query({ text: "delete from outbox where type = 'backlog'" });
});

test("publishing compares no event with all others, however many the planner thinks there are", async () => {
  const texts: string[] = [];
  const spy = {
    query: async ({ text }: { text: string }) => {
      texts.push(text);
      return { rows: [], rowCount: 0 };
    },
  };
  await publishNext(spy as unknown as Queryable, 250);
  const planner = new pg.Client({ connectionString: databases.urlOf("order") });
  await planner.connect();
  try {
    // As the pool's connections have it: one plan for all limits, and no way to join but row by row.
    await planner.query("set plan_cache_mode = force_generic_plan; set enable_hashjoin = off");
    await planner.query("set enable_mergejoin = off; set enable_seqscan = off; set enable_bitmapscan = off");
    for (const waiting of [0, 1, 100, 3_000]) {
      await planner.query("begin");
      await planner.query(
        `${INSERT.replace(/values .*/, "select 'told', 1, gen_random_uuid(), '{}' from generate_series(1, $1::int)")}`,
        [waiting],
      );
      await planner.query("analyze outbox");
      const { rows } = await planner.query(`explain (generic_plan) ${texts[0]}`);
      await planner.query("rollback");
      const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
      expect(plan).toContain("Tid Scan on outbox");
      expect(plan).not.toContain("Join Filter");
    }
  } finally {
    await planner.end();
  }
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
  // Nor is more read than that, which might be more than a process holds.
  let rows = 0;
  const counting: Queryable = {
    async query(statement) {
      const result = await db.query(statement);
      rows += result.rows.length;
      return result as never;
    },
  };
  expect(await eventsAfter(counting, offset, 500)).toHaveLength(1);
  expect(rows).toBe(1);
});

test("a page is cut where its events are large only when they are read: on disk they are compressed", async () => {
  const offset = await head();
  await db.query({
    text: `insert into outbox (type, version, key, payload)
           select 'told', 1, gen_random_uuid(), jsonb_build_object('text', repeat('x', 50000)) from generate_series(1, 100)`,
  });
  const page = () => eventsAfter(db, offset, 500);
  await until("they are published", async () => (await outboxLag(db)).events === 0);
  expect(await page()).toHaveLength(39);
});

test("old events are deleted, but none that a reader has not taken, and none that is not published", async () => {
  const open = await begin();
  const [taken, kept] = await read(0);
  await db.query({
    text: "update outbox set created_at = now() - interval '8 days' where published_at is not null",
  });
  const prune = () => db.transaction((tx) => pruneOutbox(tx, 7));
  await db.query({ text: "delete from outbox_readers" });
  await noteReader(db, "slow", taken?.position as number);
  await noteReader(db, "other", 1_000_000);
  expect(await prune()).toEqual({ more: false, ignored: [] });
  expect((await read(0))[0]).toEqual(expect.objectContaining({ id: kept?.id }));
  // What a reader said before is not unsaid by a restart.
  await noteReader(db, "slow", 0);
  await noteReader(db, "slow", 1_000_000);
  await noteReader(db, "reader", 1_000_000);
  await prune();
  expect(await read(0)).toEqual([]);
  const { rows } = await db.query<{ moved: boolean }>({
    text: "select pruned_before between now() - interval '7 days 1 minute' and now() - interval '7 days' as moved from relay",
  });
  expect(rows).toEqual([{ moved: true }]);
  await end(open, "commit");
  await arrival(open.key);
});

test("a reader that has not asked for as long as events are kept holds back nothing, and that is said once", async () => {
  const event = await begin();
  await end(event, "commit");
  const { position } = await arrival(event.key);
  await noteReader(db, "retired", 1);
  await noteReader(db, "late", position - 1);
  await db.query({ text: "update outbox set created_at = now() - interval '8 days'" });
  const retire = (consumer: string, days: number) =>
    db.query({
      text: "update outbox_readers set asked_at = now() - $2 * interval '1 day' where consumer = $1",
      values: [consumer, days],
    });
  const service = broker.getLocalService("order") as unknown as {
    upSince: number;
    prune(): Promise<boolean>;
    logger: { warn(...args: unknown[]): void };
  };
  const said: string[] = [];
  service.logger.warn = (...args) => said.push(args.join(" "));
  await retire("retired", 8);
  await retire("late", 8);
  // The shop has only just started: perhaps nobody could ask.
  await service.prune();
  expect((await read(position - 1)).map(({ key }) => key)).toEqual([event.key]);
  service.upSince -= 600_000;
  await retire("late", 6);
  await service.prune();
  await service.prune();
  expect((await read(position - 1)).map(({ key }) => key)).toEqual([event.key]);
  expect(said).toEqual([
    "retired has not asked for events for 7 days: they are not kept for it any more. If it is gone for good: " +
      "npm run events -- forget order retired",
  ]);
  await retire("late", 8);
  await service.prune();
  expect(await read(position - 1)).toEqual([]);
  expect(said).toHaveLength(2);
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

test("where a reader is is written down as soon as it rests", async () => {
  const ask = (after: number) => broker.call("order.events", { consumer: "resting", after, limit: 1 });
  const noted = async () =>
    (
      await db.query<{ position: number }>({
        text: "select position from outbox_readers where consumer = 'resting'",
      })
    ).rows[0]?.position;
  for (const after of [0, 5, 6]) await ask(after);
  expect(await noted()).toBe(0);
  await ask(6);
  expect(await noted()).toBe(6);
});

test("refused events that an operator wants sent again go in the order of the log, in whatever order they were kept", async () => {
  for (const position of [9, 4, 7]) {
    const event = { id: newId(), type: "told", version: 1, key: newId(), payload: {}, traceparent: null };
    const refused = { ...event, time: new Date(0).toISOString(), position };
    await keepRefused(db, { topic: "orders", event: refused, error: "too large" });
  }
  await db.query({ text: "update refused_events set replay_at = now()" });
  expect((await refusedToReplay(db, 10)).map(({ position }) => position)).toEqual([4, 7, 9]);
  await db.query({ text: "delete from refused_events" });
});
