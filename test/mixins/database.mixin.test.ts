/** What `transaction` promises: everything is durable when it resolves, and nothing is stored when it throws. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Database, isTransient, openDatabase } from "../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["product"]);
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
