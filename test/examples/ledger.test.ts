/** The rules of the protocol that the example's ledger must keep by itself, against its own database. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import { Ledger } from "../../examples/points-participant/ledger.ts";
import { newId } from "../../lib/ids.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";

let databases: TestDatabases;
let pool: pg.Pool;
let ledger: Ledger;
beforeAll(async () => {
  // Any empty corner will do: the tables' names do not meet those of notification.
  databases = await cloneDatabases(["notification"]);
  pool = new pg.Pool({ connectionString: databases.urlOf("notification"), max: 2 });
  ledger = new Ledger(databases.urlOf("notification"));
  await ledger.open(
    readFileSync(new URL("../../examples/points-participant/schema.sql", import.meta.url), "utf8"),
  );
});
afterAll(async () => {
  await ledger?.close();
  await pool?.end();
  await databases?.drop();
});

const userId = newId();
const entry = (txId = newId(), more: object = {}) => ({
  txId,
  hash: "h",
  budgetMs: 1_000,
  request: { userId, total: 990 },
  ...more,
});
const points = async () =>
  Number((await pool.query("select points from accounts where user_id = $1", [userId])).rows[0]?.points ?? 0);

test("a repeated prepare gets the recorded vote, across its deadline too; another request is a conflict", async () => {
  const yes = entry();
  expect(await ledger.prepare(yes)).toEqual({ kind: "YES" });
  expect(await ledger.prepare({ ...yes, budgetMs: 0 })).toEqual({ kind: "YES" });
  expect(await ledger.prepare({ ...yes, hash: "other" })).toEqual({ kind: "CONFLICT" });
  const late = entry(newId(), { budgetMs: 0 });
  expect(await ledger.prepare(late)).toEqual({ kind: "NO", reason: "deadline_exceeded" });
  expect(await ledger.prepare({ ...late, budgetMs: 1_000 })).toEqual({
    kind: "NO",
    reason: "deadline_exceeded",
  });
});

test("a commit credits once, however often it comes; the opposite changes nothing", async () => {
  const before = await points();
  const { txId } = entry();
  await ledger.prepare(entry(txId));
  expect(await Promise.all([1, 2, 3].map(() => ledger.commit(txId)))).toEqual(["DONE", "DONE", "DONE"]);
  expect(await ledger.abort(txId)).toBe("CONTRADICTION");
  expect(await points()).toBe(before + 9);
});

test("an abort that overtakes its prepare leaves a no; a commit without a vote is never acknowledged", async () => {
  const before = await points();
  const overtaken = newId();
  expect(await ledger.abort(overtaken)).toBe("DONE");
  expect(await ledger.prepare(entry(overtaken))).toEqual({ kind: "NO", reason: "aborted" });
  expect(await ledger.commit(overtaken)).toBe("CONTRADICTION");
  expect(await ledger.commit(newId())).toBe("UNKNOWN");
  expect(await points()).toBe(before);
});

test("of a prepare and an abort at once one wins, 200 times", async () => {
  for (let i = 0; i < 200; i++) {
    const { txId } = entry();
    const [vote, ack] = await Promise.all([ledger.prepare(entry(txId)), ledger.abort(txId)]);
    expect(["YES", "NO"]).toContain(vote.kind);
    expect(ack).toBe("DONE");
    const { rows } = await pool.query("select state from votes where tx_id = $1", [txId]);
    expect(rows).toEqual([{ state: "aborted" }]);
  }
});

test("the seal stops below what is in doubt; below it nothing is recorded, and what is final goes", async () => {
  await pool.query("update votes set state = 'aborted' where state = 'prepared'");
  const [low, doubtful, high] = [newId(), newId(), newId()];
  await ledger.prepare(entry(doubtful));
  expect(await ledger.raiseSeal(low)).toBe(low);
  expect(await ledger.raiseSeal(high)).toBe(low);
  expect(await ledger.prepare(entry(low))).toEqual({ kind: "FORGOTTEN" });
  expect(await ledger.abort(low)).toBe("FORGOTTEN");
  expect(await ledger.commit(low)).toBe("FORGOTTEN");
  // A watermark above the seal deletes nothing above the seal.
  expect(await ledger.prune(high, 10_000)).toBeGreaterThan(200);
  expect(await ledger.inDoubt()).toEqual([doubtful]);
  await ledger.commit(doubtful);
  expect(await ledger.raiseSeal(high)).toBe(high);
  expect(await ledger.prune(high, 10_000)).toBe(1);
});
