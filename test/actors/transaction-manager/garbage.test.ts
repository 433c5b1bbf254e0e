/** Garbage collection by the managers: how far the watermark may come, and what becomes of those it has passed. */
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { realClock } from "../../../actors/clock.ts";
import type { TxId } from "../../../actors/protocol/messages.ts";
import { Garbage } from "../../../actors/transaction-manager/garbage.ts";
import { register } from "../../../actors/transaction-manager/register.ts";
import { PRESUME_ABORT_AFTER_MS } from "../../../actors/transaction-manager/transaction-manager.ts";
import { newId } from "../../../lib/ids.ts";
import { holdSteadily } from "../../support/holders.ts";
import { ManagerBench, type ManagerParts, MemoryParticipant, REQUESTS, RUN } from "../../support/manager.ts";
import { seeded } from "../../support/random.ts";
import { gate, until } from "../../support/until.ts";

const LOWEST = "00000000-0000-0000-0000-000000000000";

let bench: ManagerBench;
beforeEach(async () => {
  bench = await ManagerBench.open();
});
afterEach(() => bench.close());

/** A manager with its garbage collection, which a test ticks itself. */
function collector(parts: ManagerParts & { retentionMs?: number } = {}) {
  const made = bench.manager(parts);
  const warnings: string[] = [];
  const garbage = new Garbage({
    register: made.register,
    participants: made.port,
    retentionMs: parts.retentionMs ?? 0,
    learn: (watermark) => made.manager.learn(watermark),
    warn: (message) => warnings.push(message),
    clock: { ...realClock, sleep: async () => undefined }, // no rests
  });
  const collect = async () => {
    while (await garbage.tick());
    return garbage.state.watermark;
  };
  return { ...made, garbage, collect, warnings };
}

const pair = () => ({ order: new MemoryParticipant(), product: new MemoryParticipant() });
const settled = (txId: TxId) => until("it is settled", () => bench.isSettled(txId));

/** A commit that everybody has acknowledged. */
async function bought({ manager }: Pick<ReturnType<typeof collector>, "manager">): Promise<TxId> {
  const { txId, outcome } = await manager.run(REQUESTS, RUN);
  expect(outcome).toBe("commit");
  await settled(txId);
  return txId;
}

describe("a commit that is repeated late", () => {
  test.each([
    ["calls no operator once the watermark has passed it, although its decision is still there", true, 0],
    ["calls an operator where the participant has forgotten what the watermark has not passed", false, 1],
  ])("%s", async (_, isPassed, alarms) => {
    const shop = collector({ participants: pair() });
    shop.of("product").commit = async (txIds) => {
      if (isPassed) await bench.db.query({ text: "update watermark set tx_id = $1", values: [txIds[0]] });
      return txIds.map(() => "forgotten");
    };
    const { txId } = await shop.manager.run(REQUESTS, RUN);
    await shop.manager.settle();
    expect(await bench.stored(txId)).toBe("commit");
    expect(shop.alarms).toHaveLength(alarms);
  });
});

describe("the watermark", () => {
  test("comes to the highest decision, once all have sealed it, and what lies below is deleted", async () => {
    const shop = collector();
    const txIds = [await bought(shop), await bought(shop), await bought(shop)];
    expect(await shop.collect()).toBe(txIds[2]);
    expect([shop.of("order").seal, shop.of("product").seal]).toEqual([txIds[2], txIds[2]]);
    expect(await bench.decisions()).toBe(0);
    expect(shop.of("order").states.size).toBe(0);
    expect(shop.garbage.state).toEqual({ watermark: txIds[2], hindrances: [], pruned: 9 });
    expect(await shop.register.read(txIds)).toEqual(["forgotten", "forgotten", "forgotten"]);
  });

  test("leaves alone what was decided within the retention, and everything above that", async () => {
    const shop = collector({ retentionMs: 3_600_000 });
    const [old, young, oldAgain] = [await bought(shop), await bought(shop), await bought(shop)];
    await bench.db.query({
      text: "update decisions set decided_at = now() - interval '2 hours' where tx_id = any($1::uuid[])",
      values: [[old, oldAgain]],
    });
    expect(await shop.collect()).toBe(old);
    expect(await bench.stored(young)).toBe("commit");
    expect(await bench.stored(oldAgain)).toBe("commit");
  });

  test("never passes a commit that is not acknowledged, which recovery still completes", async () => {
    const participants = pair();
    const shop = collector({ participants });
    const first = await bought(shop);
    let isLost = true;
    participants.product.before = (phase) => {
      if (phase === "commit" && isLost) throw new Error("the acknowledgement is lost");
    };
    const { txId } = await shop.manager.run(REQUESTS, RUN);
    const third = newId();
    await shop.register.decide([{ txId: third, outcome: "abort", participants: ["order"] }]);
    expect(await shop.collect()).toBe(first);
    expect(await shop.register.raiseWatermark(third, ["order", "product"])).toBe(first);
    expect(await bench.stored(txId)).toBe("commit");
    isLost = false;
    await shop.manager.recover(0);
    expect(participants.product.effects.get(txId)).toBe(1);
    expect(await shop.collect()).toBe(third);
    expect(shop.alarms).toEqual([]);
  });

  test("never passes the oldest transaction in doubt, although the register does not know it", async () => {
    const participants = pair();
    const shop = collector({ participants });
    const below = await bought(shop);
    const doubtful = newId();
    participants.product.states.set(doubtful, "prepared");
    const above: TxId[] = [];
    for (let n = 0; n < 6; n++) above.push(await bought(shop));
    expect(await shop.collect()).toBe(LOWEST);
    expect(shop.garbage.state.hindrances).toEqual([
      { participant: "product", reason: expect.stringContaining("in doubt") },
    ]);
    // The steps become smaller until one stands below it.
    for (let n = 0; n < 10; n++) await shop.collect();
    expect(shop.garbage.state.watermark).toBe(below);
    expect(await shop.manager.outcome([{ txId: doubtful, waitedMs: PRESUME_ABORT_AFTER_MS }])).toEqual([
      "abort",
    ]);
    await participants.product.abort([doubtful]);
    await until("the watermark follows", async () => (await shop.collect()) === above.at(-1));
    expect(shop.garbage.state.hindrances).toEqual([]);
  });

  test("waits for a participant that no decision names, because a manager enrolled it", async () => {
    const participants = { ...pair(), loyalty: new MemoryParticipant() };
    const shop = collector({ participants });
    // The order's no needs no record, so the register never hears of this transaction.
    participants.order.vote = () => ({ kind: "no", reason: "no" });
    participants.loyalty.before = (phase) => {
      if (phase === "abort") throw new Error("away");
    };
    const lost = await shop.manager.run({ order: {}, loyalty: {} }, RUN);
    expect(lost.outcome).toBe("abort");
    participants.order.vote = () => ({ kind: "yes" });
    expect(await bench.decisions()).toBe(0);
    const later = await bought(shop);
    expect(participants.loyalty.states.get(lost.txId)).toBe("prepared");
    expect(await shop.collect()).toBe(LOWEST);
    // Unharmed, it asks, and is answered.
    expect(await shop.manager.outcome([{ txId: lost.txId, waitedMs: PRESUME_ABORT_AFTER_MS }])).toEqual([
      "abort",
    ]);
    participants.loyalty.before = () => undefined;
    await participants.loyalty.abort([lost.txId]);
    await until("the watermark follows", async () => (await shop.collect()) === later);
  });

  test("waits for a participant that is enrolled while the others seal", async () => {
    const shop = collector();
    const txId = await bought(shop);
    await shop.register.enrol(["loyalty"]);
    expect(await shop.register.raiseWatermark(txId, ["order", "product"])).toBe(LOWEST);
    expect(await shop.register.raiseWatermark(txId, ["loyalty", "order", "product"])).toBe(txId);
  });

  test("stays where it is while a participant cannot be reached; operators see it, and are told once", async () => {
    const participants = pair();
    const shop = collector({ participants });
    const txId = await bought(shop);
    participants.product.before = (phase) => {
      if (phase === "raiseSeal") throw new Error("away");
    };
    expect(await shop.collect()).toBe(LOWEST);
    // It may be about to start.
    expect(shop.warnings).toEqual([]);
    for (let n = 0; n < 3; n++) expect(await shop.collect()).toBe(LOWEST);
    expect(shop.garbage.state.hindrances).toEqual([
      { participant: "product", reason: "its seal cannot be raised: away" },
    ]);
    expect(shop.warnings).toHaveLength(1);
    expect((await shop.manager.run(REQUESTS, RUN)).outcome).toBe("commit");
    participants.product.before = (phase) => {
      if (phase === "prune") throw new Error("away");
    };
    await until("it is passed", async () => ((await shop.collect()) as TxId) >= txId);
    expect(participants.order.states.has(txId)).toBe(false);
    expect(participants.product.states.has(txId)).toBe(true);
    participants.product.before = () => undefined;
    await shop.collect();
    expect(participants.product.states.has(txId)).toBe(false);
    expect(shop.garbage.state.hindrances).toEqual([]);
  });

  test("is raised although somebody holds it at every moment, and is never lowered", async () => {
    const port = register(bench.db);
    const low = newId();
    const holders = await holdSteadily(bench.url, "watermark");
    try {
      for (let round = 0; round < 5; round++) {
        const upTo = newId();
        expect(await port.raiseWatermark(upTo, [])).toBe(upTo);
        expect(await port.raiseWatermark(low, [])).toBe(upTo);
      }
      expect(holders.isHolding).toBe(true);
    } finally {
      await holders.stop();
    }
  });

  test("that a decision under way holds is left for later, and the decision counts", async () => {
    const port = register(bench.db);
    const [txId, upTo] = [newId(), newId()] as const;
    const rival = await bench.rival();
    try {
      await rival.query("select * from decide($1, $2, $3)", [[txId], ["commit"], ["order"]]);
      expect(await port.raiseWatermark(upTo, [])).toBe(LOWEST);
      await rival.query("commit");
      expect(await port.raiseWatermark(upTo, [])).toBe(LOWEST);
      await port.acknowledge([{ txId, participants: ["order"] }]);
      expect(await port.raiseWatermark(upTo, [])).toBe(upTo);
    } finally {
      await rival.end();
    }
  });

  test("raised by several managers beside live runs leaves every run its outcome", async () => {
    const random = seeded("several managers collect");
    const participants = pair();
    for (const participant of Object.values(participants))
      participant.vote = () => (random.chance(0.2) ? { kind: "no", reason: "no" } : { kind: "yes" });
    const shops = [1, 2, 3].map(() => collector({ participants }));
    let isOver = false;
    const collecting = shops.map(async ({ garbage }) => {
      while (!isOver) await garbage.tick();
    });
    const commits: TxId[] = [];
    for (let round = 0; round < 25; round++) {
      const results = await Promise.all(shops.map(({ manager }) => manager.run(REQUESTS, RUN)));
      for (const { txId, outcome } of results) {
        expect(["commit", "abort"]).toContain(outcome);
        if (outcome === "commit") commits.push(txId);
      }
    }
    isOver = true;
    await Promise.all(collecting);
    const rest = shops[0] as (typeof shops)[0];
    await until("all is deleted", async () => {
      await rest.manager.recover(0);
      await rest.collect();
      return (await bench.decisions()) === 0;
    });
    // Every commit was carried out once at each, before it was forgotten.
    for (const participant of Object.values(participants))
      expect([...participant.effects.keys()].toSorted()).toEqual(commits.toSorted());
    expect(shops.flatMap(({ alarms }) => alarms)).toEqual([]);
  });
});

describe("a manager whose clock is behind", () => {
  test("mints above a watermark that another has raised, in the same run, and once it has ticked before", async () => {
    const participants = pair();
    const ahead = collector({ participants });
    const slow = Array.from({ length: 3 }, newId);
    const watermark = await bought(ahead);
    const floors: TxId[] = [];
    const mint = (floor: TxId) => {
      floors.push(floor);
      const next = slow[0] as TxId;
      return next > floor ? (slow.shift() as TxId) : newId(floor);
    };
    const behind = collector({ participants, mint });
    await bought(behind); // enrols, and learns that there is no watermark yet
    expect(await ahead.collect()).toBe(watermark);

    const result = await behind.manager.run(REQUESTS, RUN);
    expect(result.outcome).toBe("commit");
    expect(result.txId > watermark).toBe(true);
    expect(floors).toEqual([LOWEST, LOWEST, watermark]);

    const other = collector({ participants, mint });
    await other.garbage.tick();
    floors.length = 0;
    expect(await other.manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "commit" });
    expect(floors).toHaveLength(1);
    expect((floors[0] as TxId) >= watermark).toBe(true);
  });

  test("mints above a seal that is raised before the watermark is", async () => {
    const participants = pair();
    const slow = [newId(), newId()];
    const ahead = collector({ participants });
    const seal = await bought(ahead);
    for (const participant of Object.values(participants)) await participant.raiseSeal(seal);
    const { manager } = collector({
      participants,
      mint: (floor) => (floor > LOWEST ? newId(floor) : (slow.shift() as TxId)),
    });
    const result = await manager.run(REQUESTS, RUN);
    expect(result.outcome).toBe("commit");
    expect(result.txId > seal).toBe(true);
    // What stood below the seals was aborted on the record, before another was begun.
    expect((await ahead.register.read(slow.length === 1 ? [...slow] : [])).length).toBe(1);
  });

  test("is answered by an abort where only some have sealed its txId, and nothing stays held", async () => {
    const participants = pair();
    const low = newId();
    participants.order.seal = newId();
    const { manager } = collector({ participants, mint: () => low });
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "abort", txId: low });
    expect(participants.product.states.get(low)).toBe("aborted");
  });
});

describe("a manager that is stopped before its commit INSERT", () => {
  test("follows what another aborted and pruned meanwhile: forgotten, and no commit anywhere", async () => {
    const participants = pair();
    const [reached, wake] = [gate(), gate()] as const;
    const stopped = collector({
      participants,
      register: (real) => ({
        ...real,
        async decide(proposals) {
          reached.open();
          await wake.promise;
          return real.decide(proposals);
        },
      }),
    });
    const run = stopped.manager.run(REQUESTS, RUN);
    await reached.promise;
    const [txId] = [...participants.order.states.keys()] as [TxId];
    const rival = collector({ participants });
    expect(await rival.collect()).toBe(LOWEST);
    expect(await rival.manager.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS }])).toEqual(["abort"]);
    expect(await rival.collect()).toBe(LOWEST);
    for (const participant of Object.values(participants)) await participant.abort([txId]);
    await until("it is pruned", async () => (await rival.collect()) === txId);
    expect(await bench.decisions()).toBe(0);
    wake.open();
    expect(await run).toMatchObject({ outcome: "unknown", txId });
    expect(participants.order.times("commit") + participants.product.times("commit")).toBe(0);
    expect(await bench.decisions()).toBe(0);
  });

  test("repeats a commit that was acknowledged and pruned without alarming anybody", async () => {
    const participants = pair();
    const [reached, wake] = [gate(), gate()] as const;
    let isFirst = true;
    participants.product.before = async (phase) => {
      if (phase !== "commit" || !isFirst) return;
      isFirst = false;
      reached.open();
      await wake.promise;
    };
    const slow = collector({ participants });
    const { txId } = await slow.manager.run(REQUESTS, RUN);
    await reached.promise;
    const rival = collector({ participants });
    await rival.manager.recover(0);
    await settled(txId);
    expect(await rival.collect()).toBe(txId);
    wake.open();
    await slow.manager.settle();
    expect(slow.alarms).toEqual([]);
    expect(participants.product.effects.get(txId)).toBe(1);
  });
});

test("a register that cannot enrol: nothing is begun, and the caller hears unavailable", async () => {
  const participants = pair();
  let isAway = true;
  const { manager } = collector({
    participants,
    register: (real) => ({
      ...real,
      enrol: (names) => (isAway ? Promise.reject(new Error("no register")) : real.enrol(names)),
    }),
  });
  await expect(manager.run(REQUESTS, RUN)).rejects.toMatchObject({ type: "unavailable" });
  expect(participants.order.times("prepare")).toBe(0);
  isAway = false;
  expect((await manager.run(REQUESTS, RUN)).outcome).toBe("commit");
});
