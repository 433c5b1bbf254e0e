/** The manager's part in what operators do: a forced decision is one proposal among others, a heuristic ends recovery. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Outcome, TxId } from "../../../actors/protocol/messages.ts";
import { describeDecisions } from "../../../actors/transaction-manager/register.operators.ts";
import { newId } from "../../../lib/ids.ts";
import { ManagerBench, MemoryParticipant, REQUESTS, RUN } from "../../support/manager.ts";
import { gate, until } from "../../support/until.ts";

let bench: ManagerBench;
beforeAll(async () => {
  bench = await ManagerBench.open();
});
afterAll(() => bench.close());

const pair = () => ({ order: new MemoryParticipant(), product: new MemoryParticipant() });
const NAMES = ["order", "product"];

async function prepared(participants: Record<string, MemoryParticipant>): Promise<TxId> {
  const txId = newId();
  for (const participant of Object.values(participants))
    await participant.prepare([{ txId, hash: "h", budgetMs: 1_000, request: {} }]);
  return txId;
}

test.each<[Outcome, string]>([
  ["commit", "committed"],
  ["abort", "aborted"],
])("a forced %s is stored, carried out, and answered", async (outcome, state) => {
  const participants = pair();
  const txId = await prepared(participants);
  const { manager } = bench.manager({ participants });
  expect(await manager.force({ txId, outcome, participants: NAMES })).toBe(outcome);
  for (const participant of Object.values(participants)) expect(participant.states.get(txId)).toBe(state);
  expect(await bench.stored(txId)).toBe(outcome);
  await until("it is settled", () => bench.isSettled(txId));
});

test("what is stored already is answered and nothing is sent", async () => {
  const participants = pair();
  const txId = await prepared(participants);
  const { manager, register } = bench.manager({ participants });
  await register.decide([{ txId, outcome: "commit", participants: NAMES }]);
  expect(await manager.force({ txId, outcome: "abort", participants: NAMES })).toBe("commit");
  for (const participant of Object.values(participants)) {
    expect(participant.times("abort")).toBe(0);
    expect(participant.states.get(txId)).toBe("prepared");
  }
});

test("a driver whose transaction was forced to abort meanwhile follows, and answers no commit", async () => {
  const participants = pair();
  const votes = gate();
  const driver = bench.manager({ participants });
  participants.product.vote = async () => {
    await votes.promise;
    return { kind: "yes" };
  };
  const running = driver.manager.run(REQUESTS, RUN);
  const txId = await until("order has voted", () => participants.order.asked[0]?.txIds[0]);
  const operator = bench.manager({ participants });
  expect(await operator.manager.force({ txId, outcome: "abort", participants: NAMES })).toBe("abort");
  votes.open();
  expect(await running).toMatchObject({ outcome: "abort" });
  for (const participant of Object.values(participants)) {
    expect(participant.effects.get(txId)).toBeUndefined();
    expect(participant.states.get(txId)).toBe("aborted");
  }
});

test("below the watermark nothing is forced", async () => {
  const own = await ManagerBench.open();
  try {
    const low = newId();
    await own.db.query({ text: "update watermark set tx_id = $1", values: [newId()] });
    const participants = pair();
    const { manager } = own.manager({ participants });
    expect(await manager.force({ txId: low, outcome: "abort", participants: NAMES })).toBe("forgotten");
    expect(participants.order.times("abort")).toBe(0);
  } finally {
    await own.close();
  }
});

test("a participant that answers heuristic ends recovery, is noted and alarmed, and is not durable", async () => {
  const participants = pair();
  const { manager, alarms } = bench.manager({ participants });
  participants.product.commit = async (txIds) => txIds.map(() => "heuristic");
  const result = await manager.run(REQUESTS, { ...RUN, durableAt: NAMES });
  expect(result).toMatchObject({ outcome: "commit", durable: ["order"] });
  const { txId } = result;
  await until("recovery has nothing left", () => bench.isSettled(txId));
  expect(alarms).toContainEqual({
    message: "heuristic-mixed: the register says commit, an operator aborted at product",
    detail: { txId, participant: "product" },
  });
  const { decisions } = await describeDecisions(bench.db, [txId]);
  expect(decisions).toMatchObject([{ acknowledged: NAMES, heuristic: ["product"], settled: true }]);
});

test("so it does when recovery is who brings the commit", async () => {
  const participants = pair();
  const txId = await prepared(participants);
  const { manager, register } = bench.manager({ participants });
  await register.decide([{ txId, outcome: "commit", participants: NAMES }]);
  participants.order.commit = async (txIds) => txIds.map(() => "heuristic");
  await manager.recover(0);
  expect(await bench.isSettled(txId)).toBe(true);
  const { decisions } = await describeDecisions(bench.db, [txId]);
  expect(decisions).toMatchObject([{ acknowledged: NAMES, heuristic: ["order"] }]);
});
