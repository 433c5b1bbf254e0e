/** Rule 9 at order's prepare: one key, one live attempt, and a new one takes it only by naming the one it replaces. */
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import type { PrepareEntry, TxId } from "../../actors/protocol/messages.ts";
import { newId } from "../../lib/ids.ts";
import { markAnsweredPending } from "../../services/order/order.repository.ts";
import { entryOf, type Replica } from "../support/replica.ts";
import { order, orderRequest } from "./order.subject.ts";
import { Bench } from "./subject.ts";

let bench: Bench;
let replica: Replica;
let key: { userId: string; idempotencyKey: string };
beforeAll(async () => {
  bench = await Bench.open(order);
  replica = await bench.replica();
});
beforeEach(() => {
  key = { userId: newId(), idempotencyKey: newId() };
});
afterAll(() => bench?.close());

const attempt = (replaces?: TxId): PrepareEntry => entryOf(orderRequest({ ...key, replaces }));
const YES = { kind: "yes" };
const takenBy = ({ txId }: PrepareEntry) => ({ kind: "no", reason: "key_taken", detail: { holder: txId } });
const stateOf = async ({ txId }: PrepareEntry) => (await bench.states([txId])).get(txId);

test("a prepare that names no predecessor never takes a key that is held", async () => {
  const [first, second] = [attempt(), attempt()];
  expect(await replica.vote(first)).toEqual(YES);
  expect(await replica.vote(second)).toEqual(takenBy(first));
  expect(await stateOf(first)).toBe("prepared");
});

test("a prepare that names the holder aborts it, takes the key and votes yes, all at once", async () => {
  const first = attempt();
  expect(await replica.vote(first)).toEqual(YES);
  const second = attempt(first.txId);
  expect(await replica.vote(second)).toEqual(YES);
  expect([await stateOf(first), await stateOf(second)]).toEqual(["aborted", "prepared"]);
});

test("a holder whose client was answered pending is told to be rejected, and nobody else is", async () => {
  const { db } = replica;
  const [first, stranger] = [attempt(), entryOf(orderRequest())];
  await replica.votes([first, stranger]);
  expect(await markAnsweredPending(db, first.txId)).toBe("prepared");
  const second = attempt(first.txId);
  await replica.vote(second);
  expect(await replica.abort(stranger.txId, second.txId)).toEqual(["done", "done"]);
  const { rows } = await db.query<{ type: string; orderId: string; userId: string }>({
    text: `select type, payload ->> 'orderId' as "orderId", payload ->> 'userId' as "userId"
           from outbox where key = any($1::uuid[])`,
    values: [[first.txId, second.txId, stranger.txId]],
  });
  expect(rows).toEqual([{ type: "order.rejected", orderId: first.txId, userId: key.userId }]);
});

test("what is aborted is not answered as pending any more", async () => {
  const aborted = attempt();
  await replica.vote(aborted);
  await replica.abort(aborted.txId);
  expect(await markAnsweredPending(replica.db, aborted.txId)).toBeUndefined();
});

test("an old prepare after the key was rebound is a no, whether it is a repeat, names nobody, or names the first", async () => {
  const first = attempt();
  await replica.vote(first);
  const second = attempt(first.txId);
  await replica.vote(second);
  expect(await replica.vote(first)).toMatchObject({ kind: "no" });
  expect(await replica.vote(attempt())).toEqual(takenBy(second));
  expect(await replica.vote(attempt(first.txId))).toEqual(takenBy(second));
  expect([await stateOf(first), await stateOf(second)]).toEqual(["aborted", "prepared"]);
});

test("two prepares at two replicas that name one predecessor: one of them takes the key", async () => {
  const first = attempt();
  await replica.vote(first);
  const other = await bench.replica();
  const rivals = [attempt(first.txId), attempt(first.txId)];
  const votes = await Promise.all([
    replica.vote(rivals[0] as PrepareEntry),
    other.vote(rivals[1] as PrepareEntry),
  ]);
  expect(votes.map(({ kind }) => kind).toSorted()).toEqual(["no", "yes"]);
});

test("a committed order keeps its key, whoever names it", async () => {
  const first = attempt();
  await replica.vote(first);
  expect(await replica.commit(first.txId)).toEqual(["done"]);
  expect(await replica.vote(attempt(first.txId))).toEqual(takenBy(first));
  expect(await stateOf(first)).toBe("committed");
});

test("a predecessor under another key, or of another user, is left alone", async () => {
  const stranger = entryOf(orderRequest());
  await replica.vote(stranger);
  expect(await replica.vote(attempt(stranger.txId))).toEqual(YES);
  expect(await stateOf(stranger)).toBe("prepared");
});
