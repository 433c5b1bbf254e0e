/** Deliveries on their own: which dead letters are the same, and how long one may take. In a chain: consumer.cases.ts. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { ShopEvent } from "../../../lib/event.ts";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import type { Arrival } from "../../../mixins/events/dead.letter.ts";
import { Delivery, type EventHandler, Overtaken } from "../../../mixins/events/delivery.ts";
import { moveOffset, pruneInbox } from "../../../mixins/events/inbox.rows.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { until } from "../../support/until.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["notification"]);
  db = openDatabase(databases.urlOf("notification"), 8);
  await db.query({ text: "create table effects (event_id uuid, at timestamptz default clock_timestamp())" });
});
afterAll(async () => {
  await db?.close();
  await databases?.drop();
});

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const consumer = (handler: EventHandler, kinds: readonly string[] = ["order.told.v1"]) =>
  new Delivery({
    service: "listener",
    db,
    handlers: new Map(kinds.map((kind) => [kind, handler])),
    logger: { warn: () => undefined, error: () => undefined },
  });
const arrivalsOf = (keys: readonly string[], from = 1, type = "order.told"): Arrival[] =>
  keys.map((key, n) => {
    const event: ShopEvent = {
      ...{ id: newId(), type, version: 1, key, payload: {} },
      ...{ time: new Date().toISOString(), traceparent: null },
    };
    return { topic: "orders", partition: 0, position: from + n, body: JSON.stringify(event), event };
  });
const have: EventHandler = (tx, events) =>
  tx.query({ text: "insert into effects select unnest($1::uuid[])", values: [events.map(({ id }) => id)] });
const effectsOf = async (arrivals: readonly Arrival[]): Promise<(string | undefined)[]> => {
  const ids = arrivals.map(({ event }) => event?.id);
  const { rows } = await db.query<{ event_id: string }>({
    text: "select event_id from effects where event_id = any($1::uuid[]) order by at",
    values: [ids],
  });
  return rows.map(({ event_id }) => event_id);
};
const lettersOf = async (arrivals: readonly Arrival[]): Promise<{ attempts: number }[]> =>
  (
    await db.query<{ attempts: number }>({
      text: "select attempts from dead_letters where body = any($1) order by position",
      values: [arrivals.map(({ body }) => body)],
    })
  ).rows;

test("what is buried twice is one dead letter; another body at the same place is another one", async () => {
  const bury = (body: string) =>
    consumer(have).deliver([{ topic: "orders", partition: 0, position: 7, body, event: undefined }], {
      pause,
    });
  for (const body of ["one", "one", "two"]) await bury(body);
  const { rows } = await db.query({ text: "delete from dead_letters returning body" });
  expect(rows).toEqual([{ body: "one" }, { body: "two" }]);
});

test("an event that was published twice and is poison is one dead letter, and has one effect when it is replayed", async () => {
  const [once] = arrivalsOf([newId()]) as [Arrival];
  const arrivals = [once, { ...once, position: 2 }];
  await consumer(() => Promise.reject(new Error("poison"))).deliver(arrivals, {
    pause: async () => undefined,
  });
  expect(await lettersOf(arrivals)).toEqual([{ attempts: 5 }]);
  const { rows } = await db.query<never>({
    text: "update dead_letters set replay_at = now() where body = $1 returning *",
    values: [once.body],
  });
  await Promise.all([consumer(have).replay(rows, pause), consumer(have).replay(rows, pause)]);
  expect(await effectsOf(arrivals)).toEqual([once.event?.id]);
  expect(await lettersOf(arrivals)).toEqual([]);
});

test("however many handlers hang, a delivery ends in less than 30 s, and others are taken at once", async () => {
  const [hanging, healthy] = [Array.from({ length: 12 }, newId), Array.from({ length: 12 }, newId)];
  const arrivals = arrivalsOf(hanging.flatMap((key, n) => [key, healthy[n] as string, key]));
  const others = arrivals.filter(({ event }) => healthy.includes(event?.key as string));
  const delivery = consumer(async (tx, events) => {
    if (events.some(({ key }) => hanging.includes(key))) await new Promise(() => undefined);
    await have(tx, events);
  });
  const startedAt = performance.now();
  const moves: number[] = [];
  const taken = await delivery.deliver(arrivals, {
    pause,
    moved: async (_, position) => void moves.push(position),
  });
  expect(performance.now() - startedAt).toBeLessThan(30_000);
  expect((await effectsOf(others)).sort()).toEqual(others.map(({ event }) => event?.id).sort());
  // Behind the try of all together, and the first of each that hangs.
  const { rows } = await db.query<{ seconds: number }>({
    text: "select extract(epoch from now() - max(at))::float8 as seconds from effects where event_id = any($1::uuid[])",
    values: [others.map(({ event }) => event?.id)],
  });
  expect(performance.now() - startedAt - (rows[0]?.seconds as number) * 1_000).toBeLessThan(12_000);
  // The offset has moved as far as everything is taken, or dead after all its tries.
  expect(taken).toBeGreaterThan(0);
  expect(taken).toBeLessThan(arrivals.length);
  expect(moves.at(-1)).toBe(taken);
  const dead = await lettersOf(arrivals.slice(0, taken));
  expect(dead.length).toBeGreaterThan(0);
  expect(new Set(dead.map(({ attempts }) => attempts))).toEqual(new Set([5]));
  // What was taken behind it comes again, and has no second effect.
  const rest = arrivals.slice(taken).filter((arrival) => others.includes(arrival));
  expect(await delivery.deliver(rest, { pause })).toBe(rest.length);
  expect(await effectsOf(others)).toHaveLength(others.length);
}, 60_000);

test("a try with all its statements ends in its time, however short each of them is", async () => {
  const arrivals = arrivalsOf([newId()]);
  const tries: number[] = [];
  const handler: EventHandler = async (tx, events) => {
    tries.push(performance.now());
    // Begins before the handler is late, and would end long after.
    if (tries.length === 1) for (let n = 0; n < 2; n++) await tx.query({ text: "select pg_sleep(2.8)" });
    await have(tx, events);
  };
  expect(await consumer(handler).deliver(arrivals, { pause })).toBe(1);
  expect(tries).toHaveLength(2);
  expect((tries[1] as number) - (tries[0] as number)).toBeLessThan(4_500);
}, 20_000);

test("a batch of several kinds has the time of one try, and is not taken for a database that is away", async () => {
  const arrivals = [...arrivalsOf([newId()]), ...arrivalsOf([newId()], 2, "order.told-off")];
  let losses = 0;
  const handler: EventHandler = async (tx, events) => {
    await pause(2_000);
    await have(tx, events);
  };
  const taken = await consumer(handler, ["order.told.v1", "order.told-off.v1"]).deliver(arrivals, {
    pause: async (ms) => {
      if (++losses > 4) throw new Error("it is waited for without end");
      await pause(ms);
    },
  });
  expect(taken).toBe(2);
  expect(await effectsOf(arrivals)).toHaveLength(2);
}, 30_000);

test("a letter that is deleted while its last try fails does not come back", async () => {
  const arrivals = arrivalsOf([newId()]);
  let tries = 0;
  let deleted: Promise<unknown> = Promise.resolve();
  const delivery = consumer(async () => {
    // The last of its replay: the operator's statement waits for the end of the try.
    if (tries++ === 10) {
      deleted = db.query({ text: "delete from dead_letters where body = $1", values: [arrivals[0]?.body] });
      await until("it waits", async () => {
        const { rows } = await db.query({ text: "select from pg_locks where not granted" });
        return rows.length > 0;
      });
    }
    throw new Error("poison");
  });
  await delivery.deliver(arrivals, { pause: async () => undefined });
  expect(tries).toBe(6);
  const { rows } = await db.query<never>({
    text: "update dead_letters set replay_at = now() where body = $1 returning *",
    values: [arrivals[0]?.body],
  });
  await delivery.replay(rows, async () => undefined);
  await deleted;
  expect(tries).toBe(11);
  expect(await lettersOf(arrivals)).toEqual([]);
});

test("a letter that nobody here takes any more is kept when it is replayed", async () => {
  const arrivals = arrivalsOf([newId()], 1, "order.whispered");
  await consumer(() => Promise.reject(new Error("poison")), ["order.whispered.v1"]).deliver(arrivals, {
    pause: async () => undefined,
  });
  const { rows } = await db.query<never>({
    text: "update dead_letters set replay_at = now() where body = $1 returning *",
    values: [arrivals[0]?.body],
  });
  await consumer(have).replay(rows, pause);
  const { rows: kept } = await db.query({
    text: "delete from dead_letters where body = $1 returning error, attempts, replay_at",
    values: [arrivals[0]?.body],
  });
  expect(kept).toEqual([
    { error: "order.whispered is not taken here any more", attempts: 5, replay_at: null },
  ]);
});

test.each([
  ["null", null, "null"],
  [
    "an object of no class",
    Object.assign(Object.create(null), { code: 7 }),
    "[Object: null prototype] { code: 7 }",
  ],
  ["a text with U+0000", new Error("a\0b"), "a\ufffdb"],
])("a handler may throw %s, and that is in the letter", async (_, thrown, said) => {
  const arrivals = arrivalsOf([newId()]);
  await consumer(() => Promise.reject(thrown)).deliver(arrivals, { pause: async () => undefined });
  const { rows } = await db.query({
    text: "delete from dead_letters where body = $1 returning error",
    values: [arrivals[0]?.body],
  });
  expect(rows).toEqual([{ error: said }]);
});

test("two replicas that have read the same take each event once, those of a key in order, and bury once", async () => {
  const keys = [newId(), newId(), newId()];
  const arrivals = arrivalsOf([...keys, ...keys, ...keys, ...keys]);
  const poison = new Set([arrivals[0], arrivals[4]].map((arrival) => arrival?.event?.id));
  // Fails twice, and for each of the two at another moment.
  let failures = 0;
  const handler: EventHandler = async (tx, events) => {
    if (events.some(({ id }) => poison.has(id))) throw new Error("poison");
    if (events.some(({ id }) => id === arrivals[2]?.event?.id) && failures++ < 3) throw new Error("not now");
    await have(tx, events);
  };
  const replica = async () => {
    const moved = async (tx: Parameters<EventHandler>[0], position: number) => {
      if (!(await moveOffset(tx, "users", position))) throw new Overtaken();
    };
    await consumer(handler)
      .deliver(arrivals, { pause, moved })
      .catch((err) => expect(err).toBeInstanceOf(Overtaken));
  };
  await Promise.all([replica(), replica()]);
  for (const key of keys) {
    const ofKey = arrivals.filter(({ event }) => event?.key === key && !poison.has(event.id));
    expect(await effectsOf(ofKey)).toEqual(ofKey.map(({ event }) => event?.id));
  }
  expect(await lettersOf(arrivals)).toEqual([{ attempts: 5 }, { attempts: 5 }]);
}, 60_000);

test("the inbox is pruned by stretches, with no index by age", async () => {
  const keep = newId();
  await db.query({ text: "insert into inbox (event_id) values ($1)", values: [keep] });
  await db.query({
    text: `insert into inbox (event_id, taken_at)
           select gen_random_uuid(), now() - interval '15 days' from generate_series(1, 30000)`,
  });
  const count = async (where: string) =>
    (await db.query<{ n: number }>({ text: `select count(*)::int as n from inbox where ${where}` })).rows[0]
      ?.n;
  const stretch = await pruneInbox(db, 14, 0);
  expect(stretch).toBe(100);
  const left = (await count("taken_at < now() - interval '14 days'")) as number;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(30_000);
  for (let from = stretch; from > 0; ) from = await pruneInbox(db, 14, from);
  expect(await count("taken_at < now() - interval '14 days'")).toBe(0);
  expect(await count(`event_id = '${keep}'`)).toBe(1);

  const { rows: indexes } = await db.query({
    text: "select indexname from pg_indexes where tablename = 'inbox'",
  });
  expect(indexes).toEqual([{ indexname: "inbox_pkey" }]);
  const plan = await db.transaction(async (tx) => {
    await pruneInbox(tx, 14, 0);
    return tx.query<{ "QUERY PLAN": string }>({ text: 'explain execute "inbox-pruned"(0, 100, 14)' });
  });
  expect(plan.rows.map((row) => row["QUERY PLAN"]).join()).toContain("Tid Range Scan on inbox");
});
