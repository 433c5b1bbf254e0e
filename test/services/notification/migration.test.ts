/** The step from letters that are stored to letters that are made (0010): what was stored before is kept and shown. */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { migrate } from "../../../mixins/migrations.ts";
import { adoptMails, claimMails } from "../../../services/notification/mail.repository.ts";
import { listNotifications } from "../../../services/notification/notification.repository.ts";
import { letterOf } from "../../../services/notification/notification.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";

const MIGRATIONS = new URL("../../../services/notification/migrations/", import.meta.url);

let databases: TestDatabases;
let before: string;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["notification"]);
  before = await mkdtemp(path.join(tmpdir(), "shop-test-migrations-"));
  const filter = (source: string) => !/00(0[4-9]|1\d)_.*\.sql$/.test(source);
  await cp(fileURLToPath(MIGRATIONS), before, { recursive: true, filter });
});
afterAll(async () => {
  await db?.close();
  await databases?.drop();
  await rm(before, { recursive: true });
});

test("mail that waits is sent as it was written, what was sent stays sent, and users see the same list", async () => {
  const url = databases.urlOf("notification");
  const cleared = openDatabase(url, 1);
  await cleared.query({ text: "drop schema public cascade" });
  await cleared.query({ text: "create schema public" });
  await cleared.close();
  await migrate(url, pathToFileURL(`${before}/`));
  db = openDatabase(url, 2);
  const userId = newId();
  const statuses = ["stored", "sent", "failed", "pending"];
  await db.query({
    text: `insert into notifications (event_id, type, version, time, status, user_id, subject, text, html, attempts, failure)
           select gen_random_uuid(), 'order.confirmed', 1, now() + n * interval '1 s', status, $2, 'Subject ' || n,
             'Text of ' || status, case when status = 'pending' then '<p>' || status || '</p>' end, n, 'no'
           from unnest($1::text[]) with ordinality as s (status, n)`,
    values: [statuses, userId],
  });

  await migrate(url, MIGRATIONS);
  const list = async () => {
    const rows = await listNotifications(db, { userId, place: undefined, limit: 10 });
    return rows.map((row) => [row.status, letterOf(row).text]).reverse();
  };
  const shown = statuses.map((status) => [status, `Text of ${status}`]);
  expect(await list()).toEqual(shown);

  await adoptMails(db);
  expect(await list()).toEqual(shown);
  const mails = await claimMails(db, { claimId: newId(), limit: 10, claimMs: 1_000 });
  expect(mails).toMatchObject([{ userId, attempts: 5, isRepeat: false }]);
  expect(mails.map(letterOf)).toEqual([
    { subject: "Subject 4", text: "Text of pending", html: "<p>pending</p>" },
  ]);
});
