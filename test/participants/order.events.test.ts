/** The event of a confirmed order is a row of its commit, and published with it where nobody else is publishing. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { TxId } from "../../actors/protocol/messages.ts";
import { eventsAfter, PUBLISHING, publishNext } from "../../mixins/events/outbox.rows.ts";
import { entryOf, type Replica } from "../support/replica.ts";
import { order, orderRequest } from "./order.subject.ts";
import { Bench } from "./subject.ts";

let bench: Bench;
let replica: Replica;
beforeAll(async () => {
  bench = await Bench.open(order);
  replica = await bench.replica();
});
afterAll(() => bench?.close());

async function confirm(): Promise<TxId[]> {
  const entries = [entryOf(orderRequest()), entryOf(orderRequest())];
  const txIds = entries.map(({ txId }) => txId);
  await replica.votes(entries);
  expect(await replica.commit(...txIds)).toEqual(["done", "done"]);
  return txIds;
}
const keysAfter = async (position: number) =>
  (await eventsAfter(replica.db, position, 100)).map(({ key }) => key);

test("a commit publishes the events that it tells", async () => {
  const txIds = await confirm();
  expect(new Set(await keysAfter(0))).toEqual(new Set(txIds));
  expect(await publishNext(replica.db, 100)).toBe(0);
});

test("a commit waits for nobody who is publishing: what it tells is published by the relay", async () => {
  const offset = (await eventsAfter(replica.db, 0, 100)).at(-1)?.position ?? 0;
  const txIds = await replica.db.transaction(async (tx) => {
    await tx.query({ text: PUBLISHING.now });
    const told = await confirm();
    expect(await keysAfter(offset)).toEqual([]);
    return told;
  });
  expect(await publishNext(replica.db, 100)).toBe(2);
  expect(new Set(await keysAfter(offset))).toEqual(new Set(txIds));
});
