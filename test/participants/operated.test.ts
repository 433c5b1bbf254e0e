/** A participant's part for operators, the same for product, order and payment: its account, and a row changed by hand. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import type { PrepareEntry, TxId } from "../../actors/protocol/messages.ts";
import type { VoteReport } from "../../actors/protocol/reports.ts";
import { newId } from "../../lib/ids.ts";
import { ScriptedGateway } from "../support/card-gateway.ts";
import { entryOf, openReplica, type Replica } from "../support/replica.ts";
import { until } from "../support/until.ts";
import { order } from "./order.subject.ts";
import { payment, paymentFactory, paymentRequest } from "./payment.subject.ts";
import { product } from "./product.subject.ts";
import { Bench } from "./subject.ts";

const WHY = { by: "ann", reason: "the register burned down", stored: null };
const START = "00000000-0000-0000-0000-000000000000";

describe.each([order, product, payment])("$name", (subject) => {
  let bench: Bench;
  let replica: Replica;
  beforeAll(async () => {
    bench = await Bench.open(subject);
  });
  afterEach(() => bench.stopReplicas());
  afterAll(() => bench.close());

  async function prepared(): Promise<PrepareEntry> {
    replica ??= await bench.replica();
    const entry = { ...entryOf(bench.world.request()), participants: ["order", "product"] };
    expect(await replica.vote(entry)).toEqual({ kind: "yes" });
    return entry;
  }
  const force = (txId: TxId, outcome: string) =>
    replica.operate<void>("forceHeuristic", { txId, outcome, ...WHY });
  const report = async (txId: TxId): Promise<VoteReport | undefined> =>
    (await replica.operate<VoteReport[]>("describe", { txIds: [txId, newId()] }))[0];

  test("tells what is in doubt, page by page, and everything of a transaction", async () => {
    replica = await bench.replica();
    const entries = [await prepared(), await prepared(), await prepared()];
    const ids = entries.map(({ txId }) => txId).sort();
    const first = await replica.operate<TxId[]>("inDoubt", { after: START, limit: 2 });
    expect(first).toEqual(ids.slice(0, 2));
    expect(await replica.operate("inDoubt", { after: first[1], limit: 2 })).toEqual(ids.slice(2));
    expect(await report(ids[0] as TxId)).toMatchObject({
      state: "prepared",
      ageMs: expect.any(Number),
      enlisted: subject.name === "order" ? ["order", "product"] : null,
      units: subject.name === "payment" ? null : expect.any(Number),
      money: subject.name === "product" ? null : { amount: 1_980, currency: "EUR" },
      heuristics: [],
    });
    expect(await replica.abort(...ids)).toEqual(["done", "done", "done"]);
  });

  test("a vote in doubt is changed by hand with its effects, and who, why and when is stored with it", async () => {
    replica = await bench.replica();
    const sold = await bench.world.sold();
    const [taken, released] = [await prepared(), await prepared()];
    await force(taken.txId, "commit");
    await force(released.txId, "abort");
    expect(await report(taken.txId)).toMatchObject({
      state: "committed",
      heuristics: [{ outcome: "commit", stateBefore: "prepared", ...WHY, closed: null }],
    });
    expect((await report(released.txId))?.state).toBe("aborted");
    await until("what was committed is sold", async () => (await bench.world.sold()) === sold + 1);
    expect(await replica.operate("heuristics", { after: START, limit: 10 })).toEqual(
      [taken.txId, released.txId].sort(),
    );
    // The opposite decision is answered as what it is, as often as it comes; the same one is done.
    expect(await replica.commit(released.txId, taken.txId)).toEqual(["heuristic", "done"]);
    expect(await replica.abort(released.txId, taken.txId)).toEqual(["done", "heuristic"]);
    expect(await replica.vote(taken)).toEqual({ kind: "yes" });
    // Whoever starts asks at once, and never as somebody who has waited: that would make a manager presume the abort.
    const other = await bench.replica();
    await until("it asks about both", () => other.inquiries.length >= 2);
    expect(other.inquiries.slice(0, 2)).toEqual(
      [taken.txId, released.txId].sort().map((txId) => ({ txId, waitedMs: 0 })),
    );
    for (const { txId } of [taken, released])
      await replica.operate("closeHeuristic", { txId, stored: "commit", by: "bob", reason: "settled" });
    expect(await replica.operate("heuristics", { after: START, limit: 10 })).toEqual([]);
    expect(await report(released.txId)).toMatchObject({
      heuristics: [{ stored: "commit", closed: { by: "bob", reason: "settled" } }],
    });
  });

  test("what is final, or was never there, is not changed", async () => {
    replica = await bench.replica();
    const [done, gone] = [await prepared(), await prepared()];
    await replica.commit(done.txId);
    await replica.abort(gone.txId);
    await until("nothing is owed", async () => (await report(done.txId))?.debt === null);
    const before = await bench.snapshot();
    for (const outcome of ["commit", "abort"])
      for (const txId of [done.txId, gone.txId, newId()])
        await expect(force(txId, outcome)).rejects.toMatchObject({ type: "not_in_doubt" });
    expect(await bench.snapshot()).toBe(before);
  });

  test("of a decision and an operator at once, one changes the row and the other hears of it", async () => {
    replica = await bench.replica();
    for (let round = 0; round < 20; round++) {
      const { txId } = await prepared();
      const [forced, committed] = await Promise.allSettled([force(txId, "abort"), replica.commit(txId)]);
      const isForced = forced.status === "fulfilled";
      expect((await report(txId))?.state).toBe(isForced ? "aborted" : "committed");
      expect((await report(txId))?.heuristics.length).toBe(isForced ? 1 : 0);
      // In the race it may still be told as a contradiction; recovery brings it again, and hears what it is.
      expect(committed).toMatchObject({ status: "fulfilled" });
      expect(await replica.commit(txId)).toEqual([isForced ? "heuristic" : "done"]);
    }
  });
});

test("a capture that has become impossible is given up: the payment is aborted, its card voided", async () => {
  const bench = await Bench.open(payment);
  const gateway = new ScriptedGateway();
  gateway.beforeCapture = () => {
    throw new Error("the account is closed");
  };
  const replica = await openReplica(bench.url, paymentFactory(gateway), payment.operated);
  try {
    const { txId, ...rest } = entryOf(paymentRequest());
    await replica.vote({ txId, ...rest });
    expect(await replica.commit(txId)).toEqual(["pending"]);
    const describeIt = async () => (await replica.operate<VoteReport[]>("describe", { txIds: [txId] }))[0];
    expect(await describeIt()).toMatchObject({ state: "committed", debt: "capture" });
    await replica.operate("forceHeuristic", { txId, outcome: "abort", ...WHY });
    expect(await describeIt()).toMatchObject({
      state: "aborted",
      heuristics: [{ stateBefore: "committed" }],
    });
    await until("the card is voided", async () => (await describeIt())?.debt === null);
    expect(gateway.cards.get(txId)).toBe("voided");
    expect(await replica.commit(txId)).toEqual(["heuristic"]);
  } finally {
    await replica.stop();
    await bench.close();
  }
});

test("a capture that succeeds while an operator gives it up leaves the debt to void, and the alarm, standing", async () => {
  const bench = await Bench.open(payment);
  const gateway = new ScriptedGateway();
  const alarms: string[] = [];
  const replica = await openReplica(bench.url, paymentFactory(gateway, alarms), payment.operated);
  try {
    const entry = entryOf(paymentRequest());
    const { txId } = entry;
    await replica.vote(entry);
    let captures = 0;
    gateway.beforeCapture = async () => {
      if (++captures === 1) throw new Error("the line is down");
      // The loop pays the debt; before the gateway has answered, the operator acts.
      await replica.operate("forceHeuristic", { txId, outcome: "abort", ...WHY });
    };
    expect(await replica.commit(txId)).toEqual(["pending"]);
    await until("the void is refused", () => alarms.some((alarm) => alarm.includes("could not void")));
    const [report] = await replica.operate<VoteReport[]>("describe", { txIds: [txId] });
    expect(gateway.cards.get(txId)).toBe("captured");
    expect(report).toMatchObject({ state: "aborted", debt: "void" });
  } finally {
    await replica.stop();
    await bench.close();
  }
});
