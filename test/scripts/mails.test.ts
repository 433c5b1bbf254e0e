/** `npm run mails` against a shop with a mail that its server has refused. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { newId } from "../../lib/ids.ts";
import { type MailServer, startSmtp } from "../../scripts/servers/smtp.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { command } from "../support/command.ts";
import { query } from "../support/tampering.ts";
import { until } from "../support/until.ts";

let databases: TestDatabases;
let directory: string;
let smtp: MailServer;
let shop: TestShop;
beforeAll(async () => {
  databases = await cloneDatabases();
  directory = await mkdtemp(path.join(tmpdir(), "shop-test-mails-"));
  smtp = await startSmtp({ directory });
  shop = await startTestShop({
    ...{ databases, services: ["order", "user", "notification"] },
    env: { SMTP_URL: smtp.url, MAIL_FROM: "The Shop <shop@shop.example>" },
  });
});
afterAll(async () => {
  await shop?.stop();
  await smtp?.stop();
  await databases?.drop();
  await rm(directory, { recursive: true });
});

const mails = (...args: string[]) => command(databases, "mails.ts", ...args);

test("lists a mail that was refused, and has it sent again, in vain and then not", async () => {
  expect(await mails("list")).toMatchObject({ code: 0, out: "no mail has failed\n" });
  const customer = { email: "unknown@example.com", password: "correct horse battery", name: "Ann" };
  const { id: userId } = await shop.broker.call<{ id: string }, object>("user.register", customer);
  const [{ id }] = await until("it has failed", async () => {
    const failed = await query(
      databases,
      "notification",
      "select event_id as id from notifications where status = 'failed'",
    );
    return failed.length === 1 ? (failed as [{ id: string }]) : undefined;
  });
  expect((await mails("list")).out).toMatch(
    new RegExp(`^${id}  20.* user.registered  to user ${userId}: .*no such mailbox`),
  );
  const [json] = JSON.parse((await mails("list", "--json")).out);
  expect(json).toMatchObject({
    id,
    userId,
    type: "user.registered",
    failure: expect.stringContaining("550"),
  });

  expect(await mails("send", id)).toMatchObject({
    code: 1,
    out: expect.stringMatching(new RegExp(`^0 sent\\n${id} failed again: .*no such mailbox`)),
  });
  await query(databases, "user", `update users set email = 'ann@example.com' where id = '${userId}'`);
  expect(await mails("send", "--all")).toMatchObject({ code: 0, out: "1 sent\n" });
  expect(await smtp.mails()).toMatchObject([{ messageId: `<${id}@shop.example>`, to: ["ann@example.com"] }]);
  expect(await mails("list")).toMatchObject({ code: 0, out: "no mail has failed\n" });
  expect(await mails("send", "--all")).toMatchObject({ code: 0, out: "0 sent\n" });
});

test("says what a mail waits for that nobody sends", async () => {
  await smtp.stop();
  const customer = { email: "bob@example.com", password: "correct horse battery", name: "Bob" };
  await shop.broker.call("user.register", customer);
  const [{ id }] = await until("it is told", async () => {
    const told = await query(databases, "notification", "select event_id as id from mails");
    return told.length === 1 ? (told as [{ id: string }]) : undefined;
  });
  await query(
    databases,
    "notification",
    `delete from mails; update notifications set status = 'failed', failure = 'as by hand' where event_id = '${id}'`,
  );
  expect(await mails("send", id)).toMatchObject({
    code: 0,
    out: `0 sent\n${id} waits: no notification runs, or its mail server is away\n`,
  });
}, 30_000);

test("says what is wrong with what it is asked for", async () => {
  const id = newId();
  expect(await mails("send", id)).toMatchObject({
    code: 1,
    err: `there is no failed mail ${id}: npm run mails -- list\n`,
  });
  for (const [args, fault] of [
    [[], 'there is no command ""'],
    [["send"], "send needs ids, or --all"],
    [["send", id, "--all"], "send needs ids, or --all"],
    [["send", "seven"], "expected the id of a mail, got seven"],
    [["list", id], "list takes no more"],
  ] as const)
    expect(await mails(...args)).toMatchObject({ code: 2, err: expect.stringContaining(fault) });
});
