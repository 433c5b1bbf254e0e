/** What it costs the database to tell users of events and to mail that: counted in statements and versions of rows. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import { type Database, openDatabase, type Queryable } from "../../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { openMailer, tellUsers } from "../../support/mailer.ts";
import { ScriptedSmtp } from "../../support/scripted.smtp.ts";
import { until } from "../../support/until.ts";

/** What is taken up at once. */
const MAILS = 150;

let databases: TestDatabases;
let client: pg.Client;
let smtp: ScriptedSmtp;
beforeAll(async () => {
  databases = await cloneDatabases(["notification"]);
  client = new pg.Client({ connectionString: databases.urlOf("notification") });
  await client.connect();
  smtp = new ScriptedSmtp();
});
afterAll(async () => {
  await smtp?.close();
  await client?.end();
  await databases?.drop();
});

interface Changes {
  inserted: number;
  updated: number;
  deleted: number;
}

test("a mail costs a row, a row that waits, and its end; all else is one for many", async () => {
  const db = openDatabase(databases.urlOf("notification"), 4);
  const names: string[] = [];
  const counted = (inner: Queryable): Queryable => ({
    query(statement) {
      names.push(statement.name ?? statement.text);
      return inner.query(statement);
    },
  });
  const counting: Database = {
    ...db,
    ...counted(db),
    transaction: (work) => db.transaction((tx) => work(counted(tx))),
  };
  await tellUsers(counting, MAILS);
  const mailer = await openMailer(counting, { smtpUrl: `smtp://${await smtp.listen()}` });
  const startedAt = performance.now();
  await mailer.look();
  await until("all are sent", () => mailer.totals.sent === MAILS);
  const tookMs = performance.now() - startedAt;
  await mailer.stop();
  await db.close();

  const records = names.filter((name) => name === "mail_record").length;
  expect(names.filter((name) => name !== "mail_record")).toEqual([
    "notification_insert",
    "mail_claim_lock",
    "mail_claim",
  ]);
  // 25 ms apart, whatever the server is doing.
  expect(records).toBeLessThanOrEqual(2 + tookMs / 25);
  const changes = await until("the server has counted", async () => {
    const { rows } = await client.query<Changes & { name: string }>(
      `select relname as name, n_tup_ins::int as inserted, n_tup_upd::int as updated, n_tup_del::int as deleted
       from pg_stat_user_tables where relname !~ '^knex' and n_tup_ins > 0 order by 1`,
    );
    const inserted = rows.reduce((sum, row) => sum + row.inserted, 0);
    return inserted === 2 * MAILS + 1 ? rows : undefined;
  });
  expect(changes).toEqual([
    { name: "mail_claims", inserted: 1, updated: 0, deleted: 1 },
    { name: "mails", inserted: MAILS, updated: 0, deleted: MAILS },
    { name: "notifications", inserted: MAILS, updated: 0, deleted: 0 },
  ]);
});
