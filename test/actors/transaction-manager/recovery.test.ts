/** What happens to a transaction whose driver dies after the decision, or lives on beside another's recovery. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { TxId } from "../../../actors/protocol/messages.ts";
import { register } from "../../../actors/transaction-manager/register.ts";
import { PRESUME_ABORT_AFTER_MS } from "../../../actors/transaction-manager/transaction-manager.ts";
import { newId } from "../../../lib/ids.ts";
import { ManagerBench, MemoryParticipant, REQUESTS, RUN } from "../../support/manager.ts";
import { gate, until } from "../../support/until.ts";

let bench: ManagerBench;
beforeAll(async () => {
  bench = await ManagerBench.open();
});
afterAll(() => bench.close());

const pair = () => ({ order: new MemoryParticipant(), product: new MemoryParticipant() });

/** Votes yes at both participants under a new txId, and stores the decision, as a driver does that then dies. */
async function decidedThenDied(participants: Record<string, MemoryParticipant>): Promise<TxId> {
  const txId = newId();
  for (const participant of Object.values(participants))
    await participant.prepare([{ txId, hash: "h", budgetMs: 1_000, request: {} }]);
  await register(bench.db).decide([{ txId, outcome: "commit", participants: Object.keys(participants) }]);
  return txId;
}

describe("a driver that dies", () => {
  test("before the decision is stored: inquiry ends in abort, and recovery does nothing", async () => {
    const participants = pair();
    const txId = newId();
    await participants.order.prepare([{ txId, hash: "h", budgetMs: 1_000, request: {} }]);
    const { manager } = bench.manager({ participants });
    await manager.recover(0);
    expect(participants.order.times("commit")).toBe(0);
    expect(await manager.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS }])).toEqual(["abort"]);
    await manager.recover(0);
    expect(participants.order.times("commit")).toBe(0);
  });

  test("after the decision, with nothing sent: recovery commits everywhere and marks it settled", async () => {
    const participants = pair();
    const txId = await decidedThenDied(participants);
    expect(await bench.manager({ participants }).manager.recover(0)).toBe(false);
    for (const participant of Object.values(participants)) expect(participant.effects.get(txId)).toBe(1);
    expect(await bench.isSettled(txId)).toBe(true);
  });

  test("with half of phase two sent: recovery commits the rest, and nothing twice", async () => {
    const participants = pair();
    const txId = await decidedThenDied(participants);
    await participants.order.commit([txId]);
    await register(bench.db).acknowledge([{ txId, participants: ["order"] }]);
    await bench.manager({ participants }).manager.recover(0);
    expect(participants.order.times("commit")).toBe(1);
    expect(participants.product.effects.get(txId)).toBe(1);
    expect(await bench.isSettled(txId)).toBe(true);
  });

  test("with the acknowledgement lost: the commit repeats, changes nothing, and is acknowledged", async () => {
    const participants = pair();
    const txId = await decidedThenDied(participants);
    await participants.order.commit([txId]);
    await participants.product.commit([txId]);
    await bench.manager({ participants }).manager.recover(0);
    expect([participants.order.effects.get(txId), participants.product.effects.get(txId)]).toEqual([1, 1]);
    expect(await bench.isSettled(txId)).toBe(true);
  });
});

describe("recovery", () => {
  test("beside the live driver has one effect", async () => {
    const participants = pair();
    const driver = bench.manager({ participants });
    const reached = gate();
    const held = gate();
    participants.product.before = (phase) => {
      if (phase !== "commit") return undefined;
      reached.open();
      return held.promise;
    };
    const { txId } = await driver.manager.run(REQUESTS, RUN);
    await reached.promise;
    const rivals = [1, 2, 3].map(() => bench.manager({ participants }).manager.recover(0));
    await until("all drive the commit", () => participants.product.times("commit") === 4);
    held.open();
    await Promise.all(rivals);
    await until("it is settled", () => bench.isSettled(txId));
    expect([participants.order.effects.get(txId), participants.product.effects.get(txId)]).toEqual([1, 1]);
    expect(driver.alarms).toEqual([]);
  });

  test("leaves alone what is younger than the age, and what is aborted", async () => {
    const participants = pair();
    const young = await decidedThenDied(participants);
    const aborted = newId();
    await register(bench.db).decide([{ txId: aborted, outcome: "abort", participants: ["order"] }]);
    await bench.manager({ participants }).manager.recover(60_000);
    expect(participants.order.times("commit")).toBe(0);
    await bench.manager({ participants }).manager.recover(0);
    expect(
      participants.order.asked.filter(({ phase }) => phase === "commit").flatMap((m) => m.txIds),
    ).toEqual([young]);
  });

  test("keeps what one participant cannot acknowledge, and settles the others", async () => {
    const participants = pair();
    const away = await decidedThenDied(participants);
    participants.product.before = (phase) => {
      if (phase === "commit") throw new Error("away");
    };
    const { manager, register: port } = bench.manager({ participants });
    await manager.recover(0);
    expect((await port.unacknowledged(0, 10)).find((commit) => commit.txId === away)).toMatchObject({
      txId: away,
      participants: ["product"],
    });
    participants.product.before = () => undefined;
    await manager.recover(0);
    expect(await bench.isSettled(away)).toBe(true);
    expect(participants.product.effects.get(away)).toBe(1);
  });

  test("says that more is waiting where it reached its limit and made progress", async () => {
    const participants = pair();
    for (let n = 0; n < 3; n++) await decidedThenDied(participants);
    const { manager } = bench.manager({ participants });
    expect(await manager.recover(0, 2)).toBe(true);
    expect(await manager.recover(0, 2)).toBe(false);
    const stuck = await decidedThenDied(participants);
    participants.order.before = participants.product.before = () => {
      throw new Error("away");
    };
    expect(await manager.recover(0, 1)).toBe(false);
    expect(await bench.isSettled(stuck)).toBe(false);
    participants.order.before = participants.product.before = () => undefined;
    await bench.manager({ participants }).manager.recover(0);
  });

  test("gets to all, though the oldest are more than it looks at together and cannot be acknowledged", async () => {
    const participants = pair();
    const stuck = [await decidedThenDied(participants), await decidedThenDied(participants)];
    const later = await decidedThenDied(participants);
    participants.product.before = (phase, txIds) => {
      if (phase === "commit" && txIds.some((txId) => stuck.includes(txId))) throw new Error("away");
    };
    const { manager } = bench.manager({ participants, batchMax: 1 });
    for (let n = 0; n < 2; n++) await manager.recover(0, 2);
    expect(await bench.isSettled(later)).toBe(true);
    participants.product.before = () => undefined;
    await manager.recover(0);
    for (const txId of stuck) expect(await bench.isSettled(txId)).toBe(true);
  });

  test("alarms about a participant that has aborted what is committed, and does not settle it", async () => {
    const participants = pair();
    const txId = await decidedThenDied(participants);
    participants.product.states.set(txId, "aborted");
    const { manager, alarms } = bench.manager({ participants });
    await manager.recover(0);
    expect(alarms).toEqual([
      { message: expect.stringContaining("contradiction"), detail: { txId, participant: "product" } },
    ]);
    expect(await bench.isSettled(txId)).toBe(false);
    await register(bench.db).acknowledge([{ txId, participants: ["product"] }]);
  });
});

describe("acknowledgements", () => {
  const decided = async (): Promise<TxId> => {
    const txId = newId();
    await register(bench.db).decide([{ txId, outcome: "commit", participants: ["order", "product"] }]);
    return txId;
  };
  const missing = async (txId: TxId) =>
    (await register(bench.db).unacknowledged(0, 1_000)).find((commit) => commit.txId === txId)
      ?.participants ?? [];

  test("settle a commit when the last one is in, and may be repeated", async () => {
    const txId = await decided();
    const { acknowledge } = register(bench.db);
    for (let n = 0; n < 2; n++) await acknowledge([{ txId, participants: ["order"] }]);
    expect(await missing(txId)).toEqual(["product"]);
    for (let n = 0; n < 2; n++) await acknowledge([{ txId, participants: ["product", "order"] }]);
    expect(await bench.isSettled(txId)).toBe(true);
  });

  test("in opposite orders by two managers end without a deadlock", async () => {
    const { acknowledge } = register(bench.db);
    for (let round = 0; round < 30; round++) {
      const txIds = await Promise.all(Array.from({ length: 20 }, decided));
      const by = (participant: string) => txIds.map((txId) => ({ txId, participants: [participant] }));
      await Promise.all([acknowledge(by("order")), acknowledge(by("product").toReversed())]);
      for (const txId of txIds) expect(await bench.isSettled(txId)).toBe(true);
    }
  });

  test("of one commit by two managers in one batch both count", async () => {
    const txId = await decided();
    await register(bench.db).acknowledge([
      { txId, participants: ["order"] },
      { txId, participants: ["product"] },
    ]);
    expect(await missing(txId)).toEqual([]);
  });

  test("of one commit by two managers at once both count", async () => {
    const txId = await decided();
    const rival = await bench.rival();
    try {
      await rival.query("update decisions set acknowledged = '{order}' where tx_id = $1", [txId]);
      const acknowledging = register(bench.db).acknowledge([{ txId, participants: ["product"] }]);
      await until("the second waits for the first", () => bench.isSomeoneWaiting());
      await rival.query("commit");
      await acknowledging;
      expect(await missing(txId)).toEqual([]);
    } finally {
      await rival.end();
    }
  });
});
