/**
 * What `transaction` promises: everything is durable when it resolves, and nothing is stored when it throws. And what a
 * start asks of the migrations.
 */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { databaseOf, TcpProxy } from "../../bench/drills/proxy.ts";
import { isTransient, unavailableOnce } from "../../mixins/database.errors.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { migrate } from "../../mixins/migrations.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["product", "payment"]);
  // One connection, so that each test uses what the one before has left.
  db = openDatabase(databases.urlOf("product"), 1);
  await db.query({ text: "create table notes (id int primary key)" });
});
afterAll(async () => {
  await db.close();
  await databases.drop();
});

const insert = (id: number) => ({ text: "insert into notes values ($1)", values: [id] });
const stored = async (): Promise<number[]> => {
  const { rows } = await db.query<{ id: number }>({ text: "select id from notes order by id" });
  return rows.map((row) => row.id);
};

test("work that resolves is stored, work that throws is not", async () => {
  expect(await db.transaction((tx) => tx.query(insert(1)).then(() => "result"))).toBe("result");
  const failing = db.transaction(async (tx) => {
    await tx.query(insert(2));
    throw new Error("no");
  });
  await expect(failing).rejects.toThrow("no");
  expect(await stored()).toEqual([1]);
});

test("work that swallows the error of a statement throws at the COMMIT, which stores nothing", async () => {
  const error = await db
    .transaction(async (tx) => {
      await tx.query(insert(3));
      await tx.query(insert(1)).catch(() => undefined);
      return "as if all were well";
    })
    .catch((err: Error) => err);
  expect(error).toBeInstanceOf(Error);
  expect((error as Error).message).toContain("ROLLBACK");
  // A bug, which a repeat would meet again.
  expect(isTransient(error)).toBe(false);
  expect(await stored()).toEqual([1]);
  await db.transaction((tx) => tx.query(insert(4)));
  expect(await stored()).toEqual([1, 4]);
});

test("who breaks off before the connection is made, as a proxy without a server does, has done nothing", async () => {
  const proxy = createServer((socket) => socket.resetAndDestroy());
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const { port } = proxy.address() as AddressInfo;
  const behindIt = openDatabase(`postgres://postgres@127.0.0.1:${port}/shop_product`, 1);
  try {
    for (const work of [behindIt.query(insert(5)), behindIt.transaction((tx) => tx.query(insert(5)))])
      expect(unavailableOnce(await work.catch((err) => err))).toMatchObject({ type: "unavailable" });
  } finally {
    await behindIt.close();
    proxy.close();
  }
});

test("a connection whose other end has vanished is given up in time, and replaced", async () => {
  const { hostname: host, port } = new URL(databases.server);
  const proxy = await TcpProxy.listen({ target: { host, port: Number(port) }, nameOf: databaseOf });
  const url = Object.assign(new URL(databases.urlOf("product")), { port: String(proxy.port) }).href;
  const answerMsMax = 300;
  const behindIt = openDatabase(url, 1, answerMsMax);
  try {
    for (const work of [
      () => behindIt.query(insert(6)),
      () => behindIt.transaction((tx) => tx.query(insert(6))),
    ]) {
      await behindIt.query({ text: "select 1" });
      proxy.abandon();
      const startedAt = performance.now();
      const error = await work().catch((err) => err);
      expect(performance.now() - startedAt).toBeLessThan(1.9 * answerMsMax);
      expect(unavailableOnce(error)).toMatchObject({ type: "deadline_exceeded" });
    }
    await behindIt.query(insert(6));
    expect(await stored()).toContain(6);
  } finally {
    await behindIt.close();
    await proxy.close();
  }
});

test("arrays arrive as they were given, whatever is in them", async () => {
  const texts = [
    "",
    "null",
    "NULL",
    "a,b",
    "{x}",
    '"q"',
    "back\\slash\\",
    " s ",
    "ü",
    "two\nlines",
    "a'b",
    "0-f.1_",
    null,
  ];
  const numbers = [1, -1, 1.5, 9_007_199_254_740_991];
  const dates = [new Date(0), new Date("2026-02-03T04:05:06.789Z")];
  const json = [{ a: ["b", null] }, "text", 'with "quotes" and \\'];
  const given = {
    text: `select $1::text[] as texts, $2::float8[] as numbers, $3::boolean[] as flags, $4::timestamptz[] as dates,
             array(select to_json(j) from unnest($5::jsonb[]) j) as json, $6::text[] as none, $7::text[] as nested`,
    values: [
      texts,
      numbers,
      [true, false],
      dates,
      json.map((one) => JSON.stringify(one)),
      [],
      [["a"], ['"']],
    ],
  };
  const expected = { texts, numbers, flags: [true, false], dates, json, none: [], nested: [["a"], ['"']] };
  expect((await db.query(given)).rows).toEqual([expected]);
  expect((await db.transaction((tx) => tx.query(given))).rows).toEqual([expected]);
});

describe("the migrations of a start", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "shop-migrations-"));
    // It has its own already; whose tables these are does not matter here.
    await query("drop table knex_migrations, knex_migrations_lock");
    await addFile("0001_first.sql", "create table first (id int)");
    await start();
  });
  afterAll(() => rm(folder, { recursive: true }));

  const addFile = (name: string, text: string) => writeFile(path.join(folder, name), text);
  const start = (say?: (line: string) => void) => migrate(url(), pathToFileURL(`${folder}/`), say);
  const url = () => databases.urlOf("payment");
  const query = async (text: string) => {
    const client = new pg.Client({ connectionString: url() });
    await client.connect();
    await client.query(text).finally(() => client.end());
  };

  test("wait for nobody where nothing is to be done", async () => {
    const other = new pg.Client({ connectionString: url() });
    await other.connect();
    await other.query("select pg_advisory_lock(4711)");
    await start();
    await other.end();
  });

  test("run what is new, once", async () => {
    await addFile("0002_second.sql", "create table second (id int)");
    await Promise.all([start(), start()]);
    await start();
  });

  test("wait for a table without having others wait behind them", async () => {
    await addFile("0003_note.sql", "alter table first add column note text");
    const holder = new pg.Client({ connectionString: url() });
    await holder.connect();
    await holder.query("begin; select * from first");
    const said: string[] = [];
    const over = Promise.withResolvers<void>();
    const starting = start((line) => {
      said.push(line);
      over.resolve();
    });
    await over.promise;
    // It has waited and let go: whoever comes now is served.
    await query("set lock_timeout = 500; select * from first");
    await holder.end();
    await starting;
    expect(said).toEqual([
      expect.stringMatching(/^a migration waits for a table of \S+ that somebody holds$/),
    ]);
    await query("select note from first");
  });

  test("let the version before start on a database that has been brought further", async () => {
    await rm(path.join(folder, "0002_second.sql"));
    await start();
  });
});
