/** What a mailer has in hand while it is asleep, its database away, or the service stops. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { STEPS_MS_MAX } from "../../../lib/stop.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { mailRowOf } from "../../support/mail.rows.ts";
import { openMailer, type TestMailer, tellUsers } from "../../support/mailer.ts";
import { ScriptedSmtp, WELL } from "../../support/scripted.smtp.ts";
import { until } from "../../support/until.ts";

const CONNECTIONS = 10;
/** Longer than a claim lasts. */
const ASLEEP_MS = 30_000;

let databases: TestDatabases;
let db: Database;
let client: pg.Client;
let smtp: ScriptedSmtp;
let smtpUrl: string;
let mailers: TestMailer[];
beforeAll(async () => {
  databases = await cloneDatabases(["notification"]);
  db = openDatabase(databases.urlOf("notification"), 4);
  client = new pg.Client({ connectionString: databases.urlOf("notification") });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await db?.close();
  await databases?.drop();
});
beforeEach(async () => {
  mailers = [];
  smtp = new ScriptedSmtp();
  smtpUrl = `smtp://${await smtp.listen()}`;
});
afterEach(async () => {
  await smtp.close();
  await Promise.all(mailers.map((mailer) => mailer.stop()));
  await client.query("truncate notifications, mails, mail_claims");
});

const open = async (over: Database = db): Promise<TestMailer> => {
  const mailer = await openMailer(over, { smtpUrl });
  mailers.push(mailer);
  return mailer;
};
const heard = (command: string): number => smtp.heard.filter((each) => each === command).length;
const answerAll = (line: string): void => {
  for (const socket of smtp.sockets) socket.write(`${line}\r\n`);
};
const become = (userIds: readonly string[], status: string) =>
  until(`all are ${status}`, async () => {
    const rows = await Promise.all(userIds.map((id) => mailRowOf(client, id)));
    return rows.every((row) => row?.status === status) && rows;
  });
const counted = async (): Promise<number> =>
  Number((await client.query("select sum(repeats) as n from notifications")).rows[0].n);
const claims = async (): Promise<number> => (await client.query("select from mail_claims")).rowCount ?? 0;
/** As time does, for others. */
const lapse = () => client.query("update mail_claims set until = '-infinity'");

describe("a mailer that was asleep for longer than its claim", () => {
  test("sends nothing of what it had in hand, whoever has it by then", async () => {
    smtp.script = { ...WELL, DATA: "" };
    const users = await tellUsers(db, CONNECTIONS + 3);
    const [asleep, awake] = [await open(), await open()];
    await asleep.look();
    await until("it may send", () => heard("DATA") === CONNECTIONS);
    asleep.clock.jump(ASLEEP_MS);
    await lapse();
    await awake.hold();

    smtp.script = WELL;
    answerAll("354 go on");
    await until("it has let go", () => asleep.said.filter((line) => /taken over/.test(line)).length === 13);
    expect(smtp.mails).toEqual([]);
    expect(await counted()).toBe(0);

    await awake.look();
    await become(users, "sent");
    expect(smtp.mails).toHaveLength(users.length);
    // They may have arrived, for all that the other could know.
    expect(await counted()).toBe(users.length);
    expect(await claims()).toBe(0);
  });

  test("gives back what nobody has taken over, and no repeat is counted", async () => {
    smtp.script = { ...WELL, DATA: "" };
    const users = await tellUsers(db, 2);
    const mailer = await open();
    await mailer.look();
    await until("it may send", () => heard("DATA") === 2);
    mailer.clock.jump(ASLEEP_MS);
    answerAll("354 go on");
    await until("it has let go", async () => (await claims()) === 0);
    smtp.script = WELL;
    await mailer.look();
    expect(await become(users, "sent")).toMatchObject([{ repeats: 0 }, { repeats: 0 }]);
    expect(smtp.mails).toHaveLength(2);
  });
});

test("a mailer that finds its claim gone sends nothing under it, though by its own clock it has time", async () => {
  smtp.script = { ...WELL, DATA: "" };
  const users = await tellUsers(db, 2);
  const [robbed, other] = [await open(), await open()];
  await robbed.look();
  await until("it may send", () => heard("DATA") === 2);
  await lapse(); // as where the database's clock jumps
  await other.hold();
  expect(other.totals.lapsed).toBe(1);
  await robbed.hold();
  smtp.script = WELL;
  answerAll("354 go on");
  await until("it has let go", () => robbed.said.filter((line) => /taken over/.test(line)).length === 2);
  expect(smtp.mails).toEqual([]);
  await other.look();
  await become(users, "sent");
  expect(smtp.mails).toHaveLength(2);
});

test("a mailer that holds on to its claim sends, however slow the server is", async () => {
  smtp.script = { ...WELL, DATA: "" };
  const users = await tellUsers(db, 1);
  const mailer = await open();
  await mailer.look();
  await until("it may send", () => heard("DATA") === 1);
  for (let n = 0; n < 5; n++) {
    mailer.clock.jump(10_000);
    await mailer.hold();
  }
  answerAll("354 go on");
  await until("it sends", () => heard(".") === 1);
  answerAll("250 taken");
  expect(await become(users, "sent")).toMatchObject([{ repeats: 0 }]);
});

test("a mail whose record had to wait for the database until another had sent it again was counted, and is sent", async () => {
  let isAway = false;
  const guarded = <Result>(work: () => Promise<Result>): Promise<Result> =>
    isAway ? Promise.reject(new Error("connect ECONNREFUSED")) : work();
  const away: Database = {
    ...db,
    query: (statement) => guarded(() => db.query(statement)),
    transaction: (work) => guarded(() => db.transaction(work)),
  };
  smtp.script = { ...WELL, ".": ["", "250 taken"] };
  const users = await tellUsers(db, 1);
  const [cutOff, other] = [await open(away), await open()];
  await cutOff.look();
  await until("it has sent", () => smtp.mails.length === 1);
  isAway = true;
  answerAll("250 taken");
  await until("it cannot record", () => cutOff.said.some((line) => /cannot be recorded yet/.test(line)));
  await lapse();
  await other.hold();
  await other.look();
  await become(users, "sent");
  isAway = false;
  await until("it has recorded", () => cutOff.said.some((line) => /taken over by another/.test(line)));
  expect(smtp.mails).toEqual([smtp.mails[0], smtp.mails[0]]);
  expect(await become(users, "sent")).toMatchObject([{ repeats: 1 }]);
  expect(other.totals.repeats).toBe(1);
  expect(await claims()).toBe(0);
});

describe("when the service stops", () => {
  test("what is being sent may end, as long as a stop may take, and nothing else is begun", async () => {
    smtp.script = { ...WELL, ".": "" };
    const users = await tellUsers(db, CONNECTIONS + 4);
    const mailer = await open();
    await mailer.look();
    await until("ten are being sent", () => heard(".") === CONNECTIONS);
    const stopped = mailer.stop();
    await until("the others are given back", async () => {
      const rows = await Promise.all(users.map((id) => mailRowOf(client, id)));
      return rows.filter((row) => row?.due && !row.until).length === 4;
    });
    mailer.clock.jump(STEPS_MS_MAX.mail - 5_000);
    await mailer.hold();
    answerAll("250 taken");
    await stopped;
    const rows = await Promise.all(users.map((id) => mailRowOf(client, id)));
    expect(rows.filter((row) => row?.status === "sent")).toHaveLength(CONNECTIONS);
    expect(rows.filter((row) => row?.status === "pending" && row.attempts === 0)).toHaveLength(4);
    expect(smtp.mails).toHaveLength(CONNECTIONS);

    smtp.script = WELL;
    await (await open()).look();
    await become(users, "sent");
    expect(smtp.mails).toHaveLength(users.length);
    expect(await counted()).toBe(0);
  });

  test("what has not ended by then is cut off, and marked as what may have arrived", async () => {
    smtp.script = { ...WELL, ".": "" };
    const [userId = ""] = await tellUsers(db, 1);
    const mailer = await open();
    await mailer.look();
    await until("it is being sent", () => heard(".") === 1);
    const stopped = mailer.stop();
    mailer.clock.jump(STEPS_MS_MAX.mail - 1_000);
    await stopped;
    expect(await mailRowOf(client, userId)).toMatchObject({
      ...{ status: "pending", may_have_arrived: true, until: null, attempts: 1, repeats: 0, due: false },
    });
    await client.query("update mails set due_at = now()");
    smtp.script = WELL;
    await (await open()).look();
    expect(await become([userId], "sent")).toMatchObject([{ repeats: 1 }]);
  });
});
