/** Claims on mail: one owner at a time, whatever overlaps; an owner that is late changes nothing of the next one's. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { sendAgain } from "../../../scripts/mails/failed.ts";
import {
  adoptMails,
  claimMails,
  extendClaims,
  type Result,
  readMailState,
  recordResults,
  takeOverClaims,
} from "../../../services/notification/mail.repository.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { type MailRow, mailRowOf } from "../../support/mail.rows.ts";
import { tellUsers } from "../../support/mailer.ts";

const CLAIM_MS = 60_000;

let databases: TestDatabases;
let db: Database;
let client: pg.Client;
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
beforeEach(() => client.query("truncate notifications, mails, mail_claims"));

const tell = (count: number): Promise<string[]> => tellUsers(db, count);
async function claim(limit = 10) {
  const claimId = newId();
  const mails = await claimMails(db, { claimId, limit, claimMs: CLAIM_MS });
  return { claimId, mails, of: (n: number) => ({ claimId, eventId: mails[n]?.eventId as string }) };
}
const lapse = (claimId: string) =>
  client.query("update mail_claims set until = now() - interval '1 ms' where id = $1", [claimId]);
const rowOf = async (userId?: string): Promise<MailRow> => (await mailRowOf(client, userId ?? "")) as MailRow;
const claims = async (): Promise<string[]> =>
  (await client.query<{ id: string }>("select id from mail_claims")).rows.map(({ id }) => id);
const retry = (mail: { eventId: string; claimId: string }, pauseMs = 30_000): Result => ({
  ...{ ...mail, status: "retry", failure: "not now", pauseMs, mayHaveArrived: false },
});

test("mails are claimed once, oldest first, whoever claims at the same time", async () => {
  await tell(200);
  const taken = await Promise.all(Array.from({ length: 30 }, () => claim()));
  const ids = taken.flatMap(({ mails }) => mails.map(({ eventId }) => eventId));
  expect(ids).toHaveLength(200);
  expect(new Set(ids).size).toBe(200);
  expect(await claims()).toHaveLength(20);
});

test("a claim goes with its last result, and with it the mails that are done", async () => {
  const [ann, bob, eve] = await tell(3);
  const { mails, of } = await claim();
  const byUser = (userId = "") => of(mails.findIndex((mail) => mail.userId === userId));
  await recordResults(db, [{ ...byUser(ann), status: "sent" }], []);
  expect(await claims()).toHaveLength(1);
  const failed = { ...byUser(bob), status: "failed", failure: "no such mailbox" } as const;
  const lost = await recordResults(db, [failed, retry(byUser(eve))], [of(0).claimId]);
  expect(lost.size).toBe(0);
  expect(await claims()).toEqual([]);
  expect(await rowOf(ann)).toMatchObject({ status: "sent", repeats: 0 });
  expect(await rowOf(bob)).toMatchObject({ status: "failed", failure: "no such mailbox" });
  expect(await rowOf(eve)).toMatchObject({ status: "pending", attempts: 1, due: false, failure: "not now" });
  expect(await readMailState(db)).toMatchObject({ pending: 1, failed: 1, repeats: 0 });
});

test("a mail that is to be tried again leaves its claim: another takes it, and it is no repeat when that one lapses", async () => {
  await tell(2);
  const first = await claim();
  await recordResults(db, [retry(first.of(0), 0)], []);
  const second = await claim();
  expect(second.mails).toMatchObject([{ eventId: first.of(0).eventId, isRepeat: false }]);
  await lapse(first.claimId);
  expect(await takeOverClaims(db)).toBe(1);
  const third = await claim();
  expect(third.mails).toMatchObject([{ eventId: first.of(1).eventId, isRepeat: true }]);
});

test("a mail that was refused leaves its claim: once an operator wants it sent, it can be claimed", async () => {
  await tell(2);
  const first = await claim();
  const { eventId } = first.of(0);
  await recordResults(db, [{ ...first.of(0), status: "failed", failure: "no such mailbox" }], []);
  expect(await sendAgain({ notification: databases.urlOf("notification") }, [eventId])).toEqual([eventId]);
  expect((await claim()).mails).toMatchObject([{ eventId, attempts: 1, isRepeat: false }]);
  expect(await claims()).toHaveLength(2);
});

test("a record whose answer was lost is repeated and changes nothing of what another has in hand since", async () => {
  const [ann] = await tell(2);
  const first = await claim();
  const mine = first.mails[0]?.userId === ann ? first.of(0) : first.of(1);
  await recordResults(db, [retry(mine, 0)], []);
  const second = await claim();
  await lapse(second.claimId);
  await takeOverClaims(db);
  const before = await rowOf(ann);
  expect([...(await recordResults(db, [retry(mine)], []))]).toEqual([mine.eventId]);
  expect(await rowOf(ann)).toEqual(before);
  expect(before).toMatchObject({ may_have_arrived: true, due: true });
});

describe("a claim that has lapsed", () => {
  test("is its owner's until somebody finds it", async () => {
    const [ann] = await tell(1);
    const { claimId, of } = await claim();
    await lapse(claimId);
    expect((await claim()).mails).toEqual([]);
    expect(await extendClaims(db, [claimId], CLAIM_MS)).toEqual(new Set([claimId]));
    expect(await takeOverClaims(db)).toBe(0);
    expect((await recordResults(db, [{ ...of(0), status: "sent" }], [claimId])).size).toBe(0);
    expect(await rowOf(ann)).toMatchObject({ status: "sent", repeats: 0 });
  });

  test("is left to its owner who has it under its hands at this moment, and nobody waits", async () => {
    await tell(1);
    const { claimId } = await claim();
    await lapse(claimId);
    await client.query("begin");
    await client.query("select from mail_claims for update");
    expect(await takeOverClaims(db)).toBe(0);
    await client.query("rollback");
    expect(await takeOverClaims(db)).toBe(1);
  });

  test("is taken over: what it held is due, and each is counted once as a repeat", async () => {
    const users = await tell(2);
    await lapse((await claim()).claimId);
    expect(await Promise.all([takeOverClaims(db), takeOverClaims(db)])).toEqual(
      expect.arrayContaining([0, 1]),
    );
    expect(await readMailState(db)).toMatchObject({ pending: 2, repeats: 0 });
    const { mails } = await claim();
    expect(mails).toMatchObject([
      { attempts: 2, isRepeat: true },
      { attempts: 2, isRepeat: true },
    ]);
    for (const user of users) expect(await rowOf(user)).toMatchObject({ repeats: 1 });
  });

  test.each<[what: string, result: (mail: { eventId: string; claimId: string }) => Result]>([
    ["that the mail is to be tried later", (mail) => retry(mail)],
    [
      "that its answer was lost",
      (mail) => ({ ...mail, status: "retry", failure: "lost", pauseMs: 30_000, mayHaveArrived: true }),
    ],
    ["that it was refused", (mail) => ({ ...mail, status: "failed", failure: "no" })],
  ])("is no owner's any more who says %s", async (_what, result) => {
    const [ann] = await tell(1);
    const late = await claim();
    await lapse(late.claimId);
    await takeOverClaims(db);
    const { claimId } = await claim();
    const before = await rowOf(ann);
    expect(await extendClaims(db, [late.claimId], CLAIM_MS)).toEqual(new Set());
    expect([...(await recordResults(db, [result(late.of(0))], [late.claimId]))]).toEqual([
      late.of(0).eventId,
    ]);
    expect(await rowOf(ann)).toEqual(before);
    expect(before).toMatchObject({ status: "pending", repeats: 1, until: expect.any(Date) });
    expect(await claims()).toEqual([claimId]);
    expect((await claim()).mails).toEqual([]);
  });

  test("is told to its owner, whose mail is sent all the same: that is true, and was counted", async () => {
    const [ann] = await tell(1);
    const late = await claim();
    await lapse(late.claimId);
    await takeOverClaims(db);
    const now = await claim();
    const lost = await recordResults(db, [{ ...late.of(0), status: "sent" }], [late.claimId]);
    expect([...lost]).toEqual([late.of(0).eventId]);
    expect(await rowOf(ann)).toMatchObject({ status: "sent", repeats: 1 });
    await recordResults(db, [{ ...now.of(0), status: "failed", failure: "no" }], [now.claimId]);
    expect(await rowOf(ann)).toMatchObject({ status: "sent", repeats: 1, failure: null });
    expect(await claims()).toEqual([]);
  });

  test("is either taken over or recorded, where both happen at once", async () => {
    for (let round = 0; round < 30; round++) {
      const [ann] = await tell(1);
      const { claimId, of } = await claim();
      await lapse(claimId);
      const [lost, taken] = await Promise.all([
        recordResults(db, [retry(of(0))], [claimId]),
        takeOverClaims(db),
      ]);
      expect(lost.size).toBe(taken);
      expect(await rowOf(ann)).toMatchObject({
        ...{ status: "pending", attempts: 1, may_have_arrived: taken === 1, due: taken === 1, until: null },
      });
      await client.query("truncate notifications, mails, mail_claims");
    }
  });
});

test("what the version before has left to be sent is moved, but for what it has in hand", async () => {
  const [left, dead, held] = [newId(), newId(), newId()];
  await client.query(
    `insert into notifications (event_id, type, version, time, status, user_id, subject, text, html, claimed, due_at)
     select gen_random_uuid(), 'user.registered', 1, now(), 'pending', id, 'Hello', 'Hello.', '<p>Hello.</p>', claimed,
       now() + ms * interval '1 ms'
     from unnest($1::uuid[], $2::boolean[], $3::integer[]) as n (id, claimed, ms)`,
    [
      [left, dead, held],
      [false, true, true],
      [-1, -1, 20_000],
    ],
  );
  await Promise.all([adoptMails(db), adoptMails(db)]);
  const { mails } = await claim();
  expect(mails.toSorted((a, b) => Number(a.isRepeat) - Number(b.isRepeat))).toMatchObject([
    { userId: left, isRepeat: false, content: null, subject: "Hello", text: "Hello.", html: "<p>Hello.</p>" },
    { userId: dead, isRepeat: true },
  ]);
  expect(await rowOf(held)).toMatchObject({ status: "pending", attempts: null });
});

test("a backlog of the version before is moved in parts that follow each other at once", async () => {
  await client.query(
    `insert into notifications (event_id, type, version, time, status, user_id, subject, text, html)
     select gen_random_uuid(), 'user.registered', 1, now(), 'pending', gen_random_uuid(), '', '', ''
     from generate_series(1, 1500)`,
  );
  expect(await adoptMails(db)).toBe(true);
  expect(await adoptMails(db)).toBe(false);
  expect(await readMailState(db)).toMatchObject({ pending: 1_500 });
});
