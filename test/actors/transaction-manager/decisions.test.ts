/** Rivals at the register: whoever writes first, everybody follows what is stored. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Outcome, TxId } from "../../../actors/protocol/messages.ts";
import { register } from "../../../actors/transaction-manager/register.ts";
import { PRESUME_ABORT_AFTER_MS } from "../../../actors/transaction-manager/transaction-manager.ts";
import { newId } from "../../../lib/ids.ts";
import { ManagerBench, MemoryParticipant, REQUESTS, RUN } from "../../support/manager.ts";
import { gate, settled, until } from "../../support/until.ts";

let bench: ManagerBench;
beforeAll(async () => {
  bench = await ManagerBench.open();
});
afterAll(() => bench.close());

const proposal = (txId: TxId, outcome: Outcome) => ({ txId, outcome, participants: ["order", "product"] });
const INSERT_ABORTS = `insert into decisions (tx_id, outcome, participants, settled)
  select unnest($1::uuid[]), 'abort', '{}', true`;

describe("a decision batch", () => {
  test("of 100 with 30 aborted before and 10 being aborted by an uncommitted rival stores one truth", async () => {
    const txIds = Array.from({ length: 100 }, newId);
    const aborted = txIds.filter((_, i) => i % 10 < 3);
    const contested = txIds.filter((_, i) => i % 10 === 5);
    await bench.db.query({ text: INSERT_ABORTS, values: [aborted] });
    const rival = await bench.rival();
    try {
      await rival.query(INSERT_ABORTS, [contested]);
      const minted = [...txIds];
      const { manager, of, mailboxes } = bench.manager({ mint: () => minted.shift() as TxId });
      const runs = txIds.map(() => manager.run(REQUESTS, RUN));
      await until("the batch waits for the rival", () => bench.isSomeoneWaiting());
      await rival.query("commit");
      for (const { txId, outcome } of await Promise.all(runs)) {
        const expected = aborted.includes(txId) || contested.includes(txId) ? "abort" : "commit";
        expect({ txId, outcome }).toEqual({ txId, outcome: expected });
        expect(await bench.stored(txId)).toBe(expected);
        expect(of("order").states.get(txId)).toBe(expected === "commit" ? "committed" : "aborted");
      }
      expect(mailboxes.get("decide")?.stats.batchLargest).toBe(100);
    } finally {
      await rival.end();
    }
  });

  test("whose rival rolls back stores its own decision", async () => {
    const txId = newId();
    const rival = await bench.rival();
    try {
      await rival.query(INSERT_ABORTS, [[txId]]);
      const { manager } = bench.manager({ mint: () => txId });
      const run = manager.run(REQUESTS, RUN);
      await until("the batch waits for the rival", () => bench.isSomeoneWaiting());
      await rival.query("rollback");
      expect(await run).toMatchObject({ outcome: "commit" });
    } finally {
      await rival.end();
    }
  });

  test.each([
    ["commit", "abort"],
    ["abort", "commit"],
  ] as const)(
    "with %s and %s of one txId answers both callers the same, and stores that",
    async (...both) => {
      const [first, second, other] = [newId(), newId(), newId()];
      const answers = await register(bench.db).decide([
        proposal(other, "commit"),
        ...both.map((outcome) => proposal(second, outcome)),
        ...both.toReversed().map((outcome) => proposal(first, outcome)),
      ]);
      expect(answers[0]).toBe("commit");
      expect(answers[1]).toBe(answers[2]);
      expect(answers[3]).toBe(answers[4]);
      expect([await bench.stored(second), await bench.stored(first)]).toEqual([answers[1], answers[3]]);
    },
  );

  test("in opposite orders at two managers ends without a deadlock", async () => {
    const before = await deadlocks();
    for (let round = 0; round < 50; round++) {
      const txIds = Array.from({ length: 20 }, newId);
      const [here, there] = await Promise.all([
        register(bench.db).decide(txIds.map((txId) => proposal(txId, "commit"))),
        register(bench.db).decide(txIds.toReversed().map((txId) => proposal(txId, "abort"))),
      ]);
      expect(there.toReversed()).toEqual(here);
    }
    expect(await deadlocks()).toBe(before);
  });

  test("refuses what lies at or below the watermark, but still knows what is stored there", async () => {
    const [old, stored, low, high] = [newId(), newId(), newId(), newId()] as const;
    const { register: port } = bench.manager();
    await port.decide([proposal(stored, "commit")]);
    await setWatermark(low);
    try {
      const txIds = [old, stored, low, high];
      expect(await port.read(txIds)).toEqual(["forgotten", "commit", "forgotten", undefined]);
      expect(await port.decide(txIds.map((txId) => proposal(txId, "commit")))).toEqual([
        "forgotten",
        "commit",
        "forgotten",
        "commit",
      ]);
      expect(await bench.stored(low)).toBeUndefined();
    } finally {
      await setWatermark("00000000-0000-0000-0000-000000000000");
    }
  });

  test("waits for a watermark that is being raised, and is then refused", async () => {
    const txId = newId();
    const rival = await bench.rival();
    try {
      await rival.query("update watermark set tx_id = $1", [txId]);
      const deciding = register(bench.db).decide([proposal(txId, "commit")]);
      await until("the decision waits", () => bench.isSomeoneWaiting());
      await rival.query("commit");
      expect(await deciding).toEqual(["forgotten"]);
      expect(await bench.stored(txId)).toBeUndefined();
    } finally {
      await rival.end();
      await setWatermark("00000000-0000-0000-0000-000000000000");
    }
  });
});

describe("a register whose answer is lost", () => {
  test("after the INSERT: the INSERT is repeated, and the stored commit is the outcome", async () => {
    let lost = 2;
    const { manager, of, calls } = bench.manager({
      register: (real) => ({
        ...real,
        async decide(proposals) {
          const stored = await real.decide(proposals);
          if (lost-- > 0) throw new Error("connection lost after COMMIT");
          return stored;
        },
      }),
    });
    const result = await manager.run(REQUESTS, RUN);
    expect(result.outcome).toBe("commit");
    expect(calls).toEqual(["decide", "decide", "decide"]);
    expect(of("order").effects.get(result.txId)).toBe(1);
  });

  test("before the INSERT: the repeated one finds an abort that came meanwhile, and follows it", async () => {
    const txId = newId();
    let lost = true;
    const { manager, of, calls } = bench.manager({
      mint: () => txId,
      register: (real) => ({
        ...real,
        async decide(proposals) {
          if (!lost) return real.decide(proposals);
          lost = false;
          await real.decide([proposal(txId, "abort")]);
          throw new Error("connection lost before the INSERT");
        },
      }),
    });
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "abort" });
    expect(calls).toEqual(["decide", "decide"]);
    expect(of("order").states.get(txId)).toBe("aborted");
    expect(of("order").times("commit")).toBe(0);
  });

  test("for good: the outcome is unknown, nobody is told anything, and inquiry settles it", async () => {
    const { manager, of, participants } = bench.manager({
      register: (real) => ({ ...real, decide: () => Promise.reject(new Error("no register")) }),
    });
    const result = await manager.run(REQUESTS, { ...RUN, answerMs: 100 });
    expect(result).toMatchObject({ outcome: "unknown", prepared: ["order", "product"] });
    expect(of("order").times("commit") + of("order").times("abort")).toBe(0);
    const another = bench.manager({ participants });
    expect(await another.manager.outcome([{ txId: result.txId, waitedMs: PRESUME_ABORT_AFTER_MS }])).toEqual([
      "abort",
    ]);
  });
});

describe("a manager that is stopped before its INSERT", () => {
  /** A manager whose register call hangs, as if the process were stopped, until `wake`. */
  const stopped = (txId: TxId) => {
    const reached = gate();
    const wake = gate();
    const parts = bench.manager({
      mint: () => txId,
      register: (real) => ({
        ...real,
        async decide(proposals) {
          reached.open();
          await wake.promise;
          return real.decide(proposals);
        },
      }),
    });
    return { ...parts, reached: reached.promise, wake: wake.open };
  };

  test("follows the abort that another stored meanwhile", async () => {
    const txId = newId();
    const { manager, of, reached, wake } = stopped(txId);
    const run = manager.run(REQUESTS, RUN);
    await reached;
    const rival = bench.manager().manager;
    expect(await rival.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS }])).toEqual(["abort"]);
    wake();
    expect(await run).toMatchObject({ outcome: "abort" });
    expect(of("order").states.get(txId)).toBe("aborted");
    expect(of("order").times("commit") + of("product").times("commit")).toBe(0);
  });

  test("never commits what was aborted and pruned: it hears forgotten", async () => {
    const txId = newId();
    const { manager, of, reached, wake } = stopped(txId);
    const run = manager.run(REQUESTS, RUN);
    await reached;
    await bench.manager().manager.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS }]);
    await setWatermark(txId);
    await bench.db.query({ text: "delete from decisions where tx_id = $1", values: [txId] });
    wake();
    expect(await run).toMatchObject({ outcome: "unknown", txId });
    expect(of("order").times("commit") + of("product").times("commit")).toBe(0);
    expect(await bench.stored(txId)).toBeUndefined();
    await setWatermark("00000000-0000-0000-0000-000000000000");
  });

  test("for an inquiry: it answers the commit that was stored meanwhile", async () => {
    const txId = newId();
    const { manager, reached, wake } = stopped(newId());
    const inquiry = manager.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS }]);
    await reached;
    expect(await bench.manager({ mint: () => txId }).manager.run(REQUESTS, RUN)).toMatchObject({
      outcome: "commit",
    });
    wake();
    expect(await inquiry).toEqual(["commit"]);
  });
});

describe("an inquiry", () => {
  test("is answered pending below the limit, and nothing is written", async () => {
    const txId = newId();
    const { manager, calls } = bench.manager();
    expect(await manager.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS - 1 }])).toEqual(["pending"]);
    expect(await bench.stored(txId)).toBeUndefined();
    expect(calls).toEqual(["read"]);
  });

  test("is answered pending while its transaction is driven here, however long it has waited", async () => {
    const txId = newId();
    const { manager, of } = bench.manager({ mint: () => txId });
    const held = gate();
    of("product").before = (phase) => (phase === "prepare" ? held.promise : undefined);
    const run = manager.run(REQUESTS, RUN);
    await until("product is asked", () => of("product").times("prepare") === 1);
    expect(await manager.outcome([{ txId, waitedMs: 1e9 }])).toEqual(["pending"]);
    held.open();
    expect(await run).toMatchObject({ outcome: "commit" });
    expect(await manager.outcome([{ txId, waitedMs: 0 }])).toEqual(["commit"]);
  });

  test("is answered abort only when that is stored", async () => {
    const txId = newId();
    const held = gate();
    const { manager } = bench.manager({
      register: (real) => ({
        ...real,
        decide: async (proposals) => {
          await held.promise;
          return real.decide(proposals);
        },
      }),
    });
    let reply: unknown;
    const inquiry = manager.outcome([{ txId, waitedMs: PRESUME_ABORT_AFTER_MS }]).then((replies) => {
      reply = replies;
    });
    await settled(20);
    expect(reply).toBeUndefined();
    held.open();
    await inquiry;
    expect(reply).toEqual(["abort"]);
    expect(await bench.stored(txId)).toBe("abort");
  });

  test("fails where the register does: no answer is made up", async () => {
    const { manager } = bench.manager({
      register: (real) => ({ ...real, read: () => Promise.reject(new Error("no register")) }),
    });
    await expect(manager.outcome([{ txId: newId(), waitedMs: 1e9 }])).rejects.toThrow("no register");
  });

  test("is answered forgotten at or below the watermark, and nothing is written", async () => {
    const [below, at] = [newId(), newId()] as const;
    await setWatermark(at);
    try {
      const inquiries = [below, at].map((txId) => ({ txId, waitedMs: 1e9 }));
      expect(await bench.manager().manager.outcome(inquiries)).toEqual(["forgotten", "forgotten"]);
      expect([await bench.stored(below), await bench.stored(at)]).toEqual([undefined, undefined]);
    } finally {
      await setWatermark("00000000-0000-0000-0000-000000000000");
    }
  });

  test("of many at once gets each its own answer", async () => {
    const order = new MemoryParticipant();
    const product = new MemoryParticipant();
    const { manager } = bench.manager({ participants: { order, product } });
    const committed = (await manager.run(REQUESTS, RUN)).txId;
    const [young, old] = [newId(), newId()] as const;
    expect(
      await manager.outcome([
        { txId: young, waitedMs: 0 },
        { txId: committed, waitedMs: 1e9 },
        { txId: old, waitedMs: 1e9 },
      ]),
    ).toEqual(["pending", "commit", "abort"]);
  });
});

async function setWatermark(txId: TxId): Promise<void> {
  await bench.db.query({ text: "update watermark set tx_id = $1", values: [txId] });
}

async function deadlocks(): Promise<number> {
  const { rows } = await bench.db.query<{ n: number }>({
    text: "select pg_stat_force_next_flush(), deadlocks::int as n from pg_stat_database where datname = current_database()",
  });
  return rows[0]?.n as number;
}
