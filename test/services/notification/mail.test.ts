/** Notifications on their way to a real mail server: sent once, by one of several replicas, and never in anybody's way. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import addressparser from "nodemailer/lib/addressparser";
import pg from "pg";
import { freePort } from "../../../scripts/ports.ts";
import { type Mail, type MailServer, startSmtp } from "../../../scripts/servers/smtp.ts";
import type { MailState } from "../../../services/notification/api.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { type MailRow, mailRowOf } from "../../support/mail.rows.ts";
import { until } from "../../support/until.ts";

let databases: TestDatabases;
let directory: string;
let port: number;
let smtp: MailServer;
let shop: TestShop;
let db: pg.Client;
const env = () => ({ SMTP_URL: `smtp://127.0.0.1:${port}`, MAIL_FROM: "The Shop <shop@shop.example>" });
const services = ["notification", "user", "order"] as const;
beforeAll(async () => {
  [databases, directory, port] = await Promise.all([cloneDatabases(), makeDirectory(), freePort()]);
  smtp = await startSmtp({ port, directory });
  db = new pg.Client({ connectionString: databases.urlOf("notification") });
  await db.connect();
  shop = await startTestShop({ services, databases, env: env() });
}, 60_000);
afterAll(async () => {
  await shop?.stop();
  await db?.end();
  await smtp?.stop();
  await databases?.drop();
  await rm(directory, { recursive: true });
});

const makeDirectory = () => mkdtemp(path.join(tmpdir(), "shop-test-mail-"));

let made = 0;
async function register(name = "Ann", local = `c${++made}`): Promise<string> {
  const params = { email: `${local}@example.com`, password: "correct horse battery", name };
  const { id } = await shop.broker.call<{ id: string }, object>("user.register", params);
  return id;
}

/** As many as the hashing of passwords takes at once. */
async function registerMany(count: number): Promise<string[]> {
  const ids: string[] = [];
  while (ids.length < count) ids.push(...(await Promise.all(Array.from({ length: 10 }, () => register()))));
  return ids;
}

const rowOf = (userId: string): Promise<MailRow | undefined> => mailRowOf(db, userId);

const become = (userId: string, status: string): Promise<MailRow> =>
  until(`the mail of ${userId} is ${status}`, async () => {
    const row = await rowOf(userId);
    return row?.status === status ? row : undefined;
  });
const mailOf = async ({ event_id }: MailRow): Promise<Mail[]> =>
  (await smtp.mails()).filter(({ messageId }) => messageId === `<${event_id}@shop.example>`);
const headersOf = ({ source }: Mail): Map<string, string> => {
  const [head = ""] = source.split("\r\n\r\n");
  const lines = head.replaceAll(/\r\n[ \t]/g, " ").split("\r\n");
  return new Map(lines.map((line) => [line.split(": ", 1)[0] as string, line.slice(line.indexOf(": ") + 2)]));
};
const mailState = (): Promise<MailState> => shop.broker.call("notification.mailState");

test("a welcome is sent once, as text and as HTML, and the notification says so", async () => {
  const userId = await register("Ann Lee");
  const row = await become(userId, "sent");
  expect(row).toMatchObject({ repeats: 0, failure: null });
  expect(row.event_id).toMatch(/^\S{14}7/); // a UUIDv7, as every id
  const mails = await mailOf(row);
  expect(mails).toEqual([expect.objectContaining({ to: [expect.stringMatching(/^c\d+@example.com$/)] })]);
  const headers = headersOf(mails[0] as Mail);
  expect(headers.get("From")).toBe("The Shop <shop@shop.example>");
  expect(headers.get("To")).toMatch(/^Ann Lee <c\d+@example.com>$/);
  expect(headers.get("Subject")).toBe("Welcome");
  expect(headers.get("Auto-Submitted")).toBe("auto-generated");
  expect(mails[0]?.source).toMatch(/text\/plain[\s\S]*Welcome to the shop, Ann Lee\.[\s\S]*text\/html/);
  const { items } = await shop.broker.call<{ items: object[] }, object>(
    "notification.list",
    {},
    { meta: { user: { id: userId } } },
  );
  expect(items).toMatchObject([{ id: row.event_id, type: "user.registered", status: "sent" }]);
});

describe("a name", () => {
  test.each([
    ["with quotes and an address in it", `Ann" <evil@evil.example>, "Bob`],
    ["with a comma", "Lee, Ann"],
    ["of other letters", "Ångström 李"],
    ["like an encoded word", "=?utf-8?Q?=0D=0ABcc:_evil@evil.example?="],
  ])("%s stays a name", async (_what, name) => {
    const [mail] = await mailOf(await become(await register(name), "sent"));
    const headers = headersOf(mail as Mail);
    const to = addressparser(headers.get("To") as string);
    expect(to).toEqual([{ name: expect.any(String), address: mail?.to[0] }]);
    expect(mail?.to).toEqual([expect.stringMatching(/^c\d+@example.com$/)]);
    expect(headers.has("Bcc")).toBe(false);
  });

  test("that got line breaks past the registration ends no header", async () => {
    const users = new pg.Client({ connectionString: databases.urlOf("user") });
    await users.connect();
    await smtp.stop(); // until the name is in place
    const userId = await register();
    await users.query("update users set name = $2 where id = $1", [
      userId,
      "Ann\r\nBcc: evil@evil.example\r\n\r\nBuy",
    ]);
    await users.end();
    smtp = await startSmtp({ port, directory });
    const [mail] = await mailOf(await become(userId, "sent"));
    expect(mail?.to).toHaveLength(1);
    const headers = headersOf(mail as Mail);
    expect(headers.has("Bcc")).toBe(false);
    expect(headers.get("Subject")).toBe("Welcome");
  });
});

test("a recipient who is refused for good fails with the reason, and the mail of others goes on", async () => {
  const [nobody, ann] = [await register("Nobody", "unknown"), await register()];
  expect(await become(nobody, "failed")).toMatchObject({
    failure: expect.stringContaining("550 5.1.1 no such mailbox"),
    attempts: null,
  });
  await become(ann, "sent");
  expect((await mailState()).failed).toBeGreaterThan(0);
});

test("a recipient who is refused for now is tried again later, and the mail of others goes on", async () => {
  const busy = await register("Busy", "busy");
  const row = await until("it has been tried", async () => {
    const found = await rowOf(busy);
    return found?.failure ? found : undefined;
  });
  expect(row).toMatchObject({
    status: "pending",
    attempts: 1,
    due: false,
    failure: expect.stringContaining("451 4.2.1"),
  });
  await become(await register(), "sent");
  await db.query("update mails set due_at = now() where event_id = $1", [row.event_id]);
  await until("it has been tried again", async () => (await rowOf(busy))?.attempts === 2);
  expect(await rowOf(busy)).toMatchObject({ status: "pending", repeats: 0 });
});

test("mail to an account that is gone fails", async () => {
  await smtp.stop();
  const userId = await register();
  const users = new pg.Client({ connectionString: databases.urlOf("user") });
  await users.connect();
  await users.query("delete from users where id = $1", [userId]);
  await users.end();
  smtp = await startSmtp({ port, directory });
  expect(await become(userId, "failed")).toMatchObject({ failure: "the account does not exist any more" });
});

test("a mail server that is away delays mail and nothing else: each is sent once when it is back", async () => {
  await smtp.stop();
  const ids = await registerMany(20);
  await until("all are stored", async () => (await mailState()).pending >= ids.length);
  expect(await shop.broker.call("notification.health")).toBeTruthy();
  const state = await mailState();
  expect(state.oldestMs).toBeGreaterThan(0);
  for (const id of ids) expect(await rowOf(id)).toMatchObject({ status: "pending", attempts: 0 });

  smtp = await startSmtp({ port, directory });
  for (const id of ids) {
    const row = await become(id, "sent");
    expect(row).toMatchObject({ repeats: 0 });
    expect(await mailOf(row)).toHaveLength(1);
  }
});

test("two replicas share the mail: none is sent twice", async () => {
  await smtp.stop();
  const ids = await registerMany(150);
  await until("all are stored", async () => (await mailState()).pending >= ids.length);
  const other = await startTestShop({ services: ["notification", "user", "order"], databases, env: env() });
  try {
    smtp = await startSmtp({ port, directory });
    for (const id of ids) expect(await mailOf(await become(id, "sent"))).toHaveLength(1);
    expect((await mailState()).repeats).toBe(0);
  } finally {
    await other.stop();
  }
}, 30_000);

test("what is being sent when the service stops is sent, and not again by the next", async () => {
  const ids = await registerMany(60);
  await shop.stop();
  shop = await startTestShop({ services, databases, env: env() });
  for (const id of ids) expect(await mailOf(await become(id, "sent"))).toHaveLength(1);
  expect((await mailState()).repeats).toBe(0);
});

test("without a mail server each mail is a file that mail programs open", async () => {
  const dataDir = await makeDirectory();
  await shop.stop();
  shop = await startTestShop({ services, databases, env: { DATA_DIR: dataDir } });
  const { event_id } = await become(await register("Ann <Ann>"), "sent");
  expect(await readdir(path.join(dataDir, "outbox"))).toEqual([`${event_id}.eml`]);
  const source = await readFile(path.join(dataDir, "outbox", `${event_id}.eml`), "utf8");
  expect(source).toMatch(/^From: Concord <shop@example.com>\r\nTo: "Ann <Ann>" <c\d+@example.com>\r$/m);
  expect(source).toContain(`Message-ID: <${event_id}@example.com>\r\n`);
  await rm(dataDir, { recursive: true });
});
