/** Events that the statement publishes which tells them, beside others that do so, and beside relays. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase, type Queryable } from "../../../mixins/database.mixin.ts";
import { eventsAfter, outboxLag, PUBLISHING, publishNext } from "../../../mixins/events/outbox.rows.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { until } from "../../support/until.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["order"]);
  db = openDatabase(databases.urlOf("order"), 4);
});
afterAll(async () => {
  await db?.close();
  await databases?.drop();
});

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function open(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databases.urlOf("order") });
  await client.connect();
  return client;
}
const tell = (on: Queryable | pg.Client, keys: readonly string[]) =>
  (on as Queryable).query({
    text: `with publishing as materialized (${PUBLISHING.now})
           insert into outbox (type, version, key, payload, ${PUBLISHING.columns})
           select 'told', 1, key, '{}', ${PUBLISHING.values} from publishing, unnest($1::uuid[]) as k (key)`,
    values: [keys],
  });
const keysAfter = async (position: number) => (await eventsAfter(db, position, 1_000)).map(({ key }) => key);

test("an event is published by the statement that tells it, which waits for nobody who publishes meanwhile", async () => {
  const [first, second] = [newId(), newId()];
  const slow = await open();
  try {
    await slow.query("begin");
    await tell(slow, [first]);
    // Without a position, for the one that was given before it cannot be seen yet.
    await tell(db, [second]);
    expect(await keysAfter(0)).toEqual([]);
    await slow.query("commit");
    expect(await keysAfter(0)).toEqual([first]);
    expect(await publishNext(db, 10)).toBe(1);
    expect(await keysAfter(0)).toEqual([first, second]);
  } finally {
    await slow.end();
  }
});

test("whoever reads by position misses nothing, however many tell and publish at once", async () => {
  const told: string[] = [];
  const read: string[] = [];
  let offset = (await eventsAfter(db, 0, 1_000)).at(-1)?.position ?? 0;
  let isOver = false;
  const reading = (async () => {
    for (let isLast = false; !isLast; ) {
      isLast = isOver;
      const page = await eventsAfter(db, offset, 1_000);
      read.push(...page.map(({ key }) => key));
      offset = page.at(-1)?.position ?? offset;
    }
  })();
  let published = 0;
  const relay = (async () => {
    for (; !isOver; await pause(2)) published += await publishNext(db, 10);
  })();
  const teller = async () => {
    const client = await open();
    try {
      for (let i = 0; i < 60; i++) {
        const keys = [newId(), newId(), newId()];
        told.push(...keys);
        await client.query("begin");
        await tell(client, keys);
        await client.query("commit");
      }
    } finally {
      await client.end();
    }
  };
  await Promise.all(Array.from({ length: 4 }, teller));
  await until("all is published", async () => (await outboxLag(db)).events === 0);
  isOver = true;
  await Promise.all([reading, relay]);
  // Some by their statements, some by a relay.
  expect(published).toBeGreaterThan(0);
  expect(published).toBeLessThan(told.length);
  expect(read).toHaveLength(told.length);
  expect(new Set(read)).toEqual(new Set(told));
});
