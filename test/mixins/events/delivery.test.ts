/** Dead letters on their own: which of them are the same. Delivery in a chain is in consumer.cases.ts. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { Delivery } from "../../../mixins/events/delivery.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["notification"]);
  db = openDatabase(databases.urlOf("notification"), 2);
});
afterAll(async () => {
  await db?.close();
  await databases?.drop();
});

test("what is buried twice is one dead letter; another body at the same place is another one", async () => {
  const logger = { warn: () => undefined, error: () => undefined };
  const delivery = new Delivery({ service: "listener", db, handlers: new Map(), logger });
  const bury = (body: string) =>
    delivery.deliver([{ topic: "orders", partition: 0, position: 7, body, event: undefined }], {
      pause: async () => undefined,
    });
  for (const body of ["one", "one", "two"]) await bury(body);
  const { rows } = await db.query({ text: "select body from dead_letters order by body" });
  expect(rows).toEqual([{ body: "one" }, { body: "two" }]);
});
