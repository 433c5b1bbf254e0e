import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { arrayLiteral } from "../../mixins/array-literal.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["payment"]);
  db = openDatabase(databases.urlOf("payment"), 1);
});
afterAll(async () => {
  await db.close();
  await databases.drop();
});

/** What PostgreSQL makes of the array, read back as JSON. */
async function roundTrip(type: string, values: unknown): Promise<unknown> {
  const { rows } = await db.query<{ back: unknown }>({
    text: `select to_json($1::${type}[]) as back`,
    values: [values],
  });
  return rows[0]?.back;
}

const STRINGS = [
  "",
  "plain",
  "NULL",
  "null",
  " blanks ",
  "a,b",
  "{a}",
  '"quoted"',
  "back\\slash",
  "\\",
  '\\"',
  "\\n is no line",
  "\\\\n neither",
  "it's",
  "línea, 行, 👍",
  "\u2028",
];

test.each([
  ["text", STRINGS],
  ["text", [null, "x", null]],
  ["text", []],
  ["text", ["a\nline"]],
  ["text", ["\t", "\b\f\r", "\u0001", "\\\n"]],
  ["text", [...STRINGS, "and a\nline"]],
  ["bigint", [0, -1, 2 ** 53 - 1, null]],
  ["float8", [0.1, 1e21, -1e-7]],
  ["boolean", [true, false]],
  [
    "text",
    [
      ["a", "b"],
      ["c", "d"],
    ],
  ],
])("%s array %j arrives as it is", async (type, values) => {
  expect(await roundTrip(type, values)).toEqual(values);
});

test("JSON documents with every kind of escape arrive as they are", async () => {
  const documents = STRINGS.concat("a\nline").map((text) => ({ text, nested: { [text]: [text] } }));
  expect(
    await roundTrip(
      "jsonb",
      documents.map((document) => JSON.stringify(document)),
    ),
  ).toEqual(documents);
});

test("an element that JSON would change or leave out is left to pg", () => {
  for (const value of [
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    [undefined],
    [new Date(0)],
    [Buffer.from("x")],
    "no array",
    7,
  ])
    expect(arrayLiteral(value)).toBe(value);
});
