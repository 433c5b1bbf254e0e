/** What a participant's database does when the server ends a connection that is in use. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["product"]);
  db = openDatabase(databases.urlOf("product"), 2);
});
afterAll(async () => {
  await db.close();
  await databases.drop();
});

const terminate = (pid: number) => db.query({ text: "select pg_terminate_backend($1)", values: [pid] });
const pidOf = async (tx: { query: Database["query"] }): Promise<number> =>
  (await tx.query<{ pid: number }>({ text: "select pg_backend_pid() as pid" })).rows[0]?.pid as number;

test("a transaction whose connection is lost fails alone: the process goes on", async () => {
  const work = db.transaction(async (tx) => {
    const pid = await pidOf(tx);
    const waiting = tx.query({ text: "select pg_sleep(20)" });
    await terminate(pid);
    await waiting;
  });
  await expect(work).rejects.toMatchObject({ code: "57P01" });
  expect(await pidOf(db)).toBeGreaterThan(0);
});

test("a statement whose connection is lost fails alone: the process goes on", async () => {
  const other = openDatabase(databases.urlOf("product"), 1);
  try {
    const pid = await pidOf(other);
    const waiting = other.query({ text: "select pg_sleep(20)" });
    const failed = expect(waiting).rejects.toMatchObject({ code: "57P01" });
    await terminate(pid);
    await failed;
    expect(await pidOf(other)).not.toBe(pid);
  } finally {
    await other.close();
  }
});
