/** The mailer on bad days: answers that are lost, a server that refuses all mail, addresses that nobody knows at present. */
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import pg from "pg";
import type { MailState } from "../../../services/notification/api.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { mailRowOf } from "../../support/mail.rows.ts";
import { ScriptedSmtp, WELL } from "../../support/scripted.smtp.ts";
import { until } from "../../support/until.ts";

let smtp: ScriptedSmtp;
let shop: TestShop;
let db: pg.Client;
beforeAll(async () => {
  smtp = new ScriptedSmtp();
  const SMTP_URL = `smtp://${await smtp.listen()}`;
  shop = await startTestShop({ services: ["notification", "user", "order"], env: { SMTP_URL } });
  db = new pg.Client({ connectionString: shop.databases.urlOf("notification") });
  await db.connect();
}, 60_000);
afterAll(async () => {
  await db?.end();
  await shop?.stop();
  await smtp?.close();
});
beforeEach(() => {
  smtp.script = WELL;
  smtp.heard.length = 0;
  smtp.mails.length = 0;
});

let made = 0;
async function register(): Promise<string> {
  const params = { email: `c${++made}@example.com`, password: "correct horse battery", name: "Ann" };
  return (await shop.broker.call<{ id: string }, object>("user.register", params)).id;
}
const rowOf = (userId: string) => mailRowOf(db, userId);
const become = (userId: string, status: string) =>
  until(`the mail is ${status}`, async () => {
    const row = await rowOf(userId);
    return row?.status === status ? row : undefined;
  });
/** Its row after an attempt that has failed. */
const tried = (userId: string) =>
  until("it has been tried in vain", async () => {
    const row = await rowOf(userId);
    return row?.failure ? row : undefined;
  });
const heard = (command: string): number => smtp.heard.filter((each) => each === command).length;
const repeats = async (): Promise<number> =>
  (await shop.broker.call<MailState>("notification.mailState")).repeats;

test("a mail whose answer is lost is sent again later, as it was, and counted", async () => {
  smtp.script = { ...WELL, ".": ["hang up", "250 taken"] };
  const userId = await register();
  const lost = await tried(userId);
  expect(lost).toMatchObject({
    status: "pending",
    may_have_arrived: true,
    due: false,
    attempts: 1,
    repeats: 0,
  });
  expect(lost.failure).toMatch(/closed/);
  expect(smtp.mails).toHaveLength(1);
  await db.query("update mails set due_at = now() where event_id = $1", [lost.event_id]);
  expect(await become(userId, "sent")).toMatchObject({ repeats: 1 });
  expect(smtp.mails).toEqual([smtp.mails[0], smtp.mails[0]]);
  expect(smtp.mails[0]).toContain(`Message-ID: <${lost.event_id}@example.com>`);
  expect(await repeats()).toBe(1);
});

test("a server that takes mail of nobody is asked with one mail at a time, and no mail fails", async () => {
  smtp.script = { ...WELL, MAIL: "550 5.7.1 not from you" };
  const ids: string[] = [];
  while (ids.length < 30) ids.push(...(await Promise.all(Array.from({ length: 10 }, register))));
  const state = async () => await shop.broker.call<MailState>("notification.mailState");
  await until("all wait", async () => (await state()).pending === ids.length);
  await until("it has been asked", () => heard("MAIL") > 0);
  const before = heard("MAIL");
  await until("it is asked again", () => heard("MAIL") >= before + 3);
  const rows = await Promise.all(ids.map(rowOf));
  expect(
    rows.filter(({ status, attempts } = {} as never) => status === "pending" && attempts === 0),
  ).toHaveLength(ids.length);
  expect(heard("MAIL")).toBeLessThanOrEqual(ids.length + 6);
  smtp.script = WELL;
  for (const id of ids) expect(await become(id, "sent")).toMatchObject({ repeats: 0 });
  expect(smtp.mails).toHaveLength(ids.length);
});

test("after eighty attempts a mail is given up, with the last reason", async () => {
  smtp.script = { ...WELL, RCPT: "450 greylisted" };
  const userId = await register();
  const { event_id } = await tried(userId);
  await db.query("update mails set due_at = now(), attempts = 79 where event_id = $1", [event_id]);
  expect(await become(userId, "failed")).toMatchObject({
    failure: expect.stringMatching(/^given up after 80 attempts: .*450 greylisted/),
  });
});

test("a claim is held as long as the server takes to answer, and given up by nobody else", async () => {
  smtp.script = { ...WELL, ".": "" };
  const userId = await register();
  await until("it has been sent", () => smtp.mails.length === 1);
  const before = Number((await rowOf(userId))?.until);
  await until("the claim is extended", async () => Number((await rowOf(userId))?.until) > before, 10_000);
  expect(smtp.mails).toHaveLength(1);
  for (const socket of smtp.sockets) socket.write("250 taken\r\n");
  expect(await become(userId, "sent")).toMatchObject({ repeats: 0 });
}, 20_000);
