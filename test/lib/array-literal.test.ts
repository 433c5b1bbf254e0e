/** Array literals, against what the driver writes and what a real PostgreSQL reads. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { toArrayLiteral } from "../../lib/array-literal.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["product"]);
  db = openDatabase(databases.urlOf("product"), 1);
});
afterAll(async () => {
  await db.close();
  await databases.drop();
});

const ID = "0190a5c8-7b1e-7a3c-9d2f-1c5e8b7a6d40";

test.each([
  ["uuid", [ID, ID]],
  ["text", ["", "NULL", "null", "a,b", "{a}", " a ", "é\n\t", "it's", "(1)"]],
  ["text", ["plain", null, undefined]],
  ["text", ['say "a"', "b\\c", null]],
  ["bigint", [0, -1, Number.MAX_SAFE_INTEGER]],
  ["float8", [0.1, 1e300, -2.5e-7]],
  ["boolean", [true, false, null]],
  ["jsonb", ['{"a": ["b"]}', null]],
  ["timestamptz", [new Date(0), null]],
  ["text", []],
])("a list of %s is read as it was: %j", async (type, values) => {
  const read = (value: unknown) =>
    db.query<{ each: unknown }>({
      text: `select to_jsonb(each) as each from unnest($1::${type}[]) with ordinality as u (each, n) order by n`,
      values: [value],
    });
  const { rows } = await read(toArrayLiteral(values));
  expect(rows).toHaveLength(values.length);
  if (type === "text") expect(rows.map((row) => row.each)).toEqual(values.map((value) => value ?? null));
  // Around the database, so that the driver itself writes them.
  const { rows: byDriver } = await db.transaction((tx) =>
    tx.query<{ each: unknown }>({
      text: `select to_jsonb(each) as each from unnest($1::${type}[]) with ordinality as u (each, n) order by n`,
      values: [values],
    }),
  );
  expect(rows).toEqual(byDriver);
});

test("the driver gets what it alone can write", () => {
  for (const values of [['"'], ["\\"], [new Date(0)], [[1]], [{}], [Buffer.from("a")], [1n]])
    expect(toArrayLiteral(values)).toBe(values);
});
