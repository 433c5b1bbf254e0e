/** Votes to outcome: what `run` decides, stores and answers, over the real register. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { PrepareReply } from "../../../actors/protocol/messages.ts";
import { ShopError } from "../../../lib/errors.ts";
import { ManagerBench, MemoryParticipant, REQUESTS, RUN } from "../../support/manager.ts";
import { gate, settled, until } from "../../support/until.ts";

let bench: ManagerBench;
beforeAll(async () => {
  bench = await ManagerBench.open();
});
afterAll(() => bench.close());

const YES: PrepareReply = { kind: "yes" };
const NO: PrepareReply = { kind: "no", reason: "insufficient_stock", detail: { available: 1 } };
const REPLIES: PrepareReply[] = [
  YES,
  NO,
  { kind: "pending" },
  { kind: "conflict" },
  { kind: "forgotten" },
  { kind: "error", code: "internal_error", message: "oops" },
];
/** Below one asking-again, so that `pending` ends at once. */
const SHORT = { ...RUN, prepareMs: 80 };

describe("commit", () => {
  test("is stored, carried out everywhere and acknowledged", async () => {
    const { manager, of } = bench.manager();
    const result = await manager.run(REQUESTS, RUN);
    expect(result).toEqual({ outcome: "commit", txId: expect.any(String), durable: ["order"] });
    expect(await bench.stored(result.txId)).toBe("commit");
    await until("both acknowledged", () => bench.isSettled(result.txId));
    for (const name of ["order", "product"]) expect(of(name).effects.get(result.txId)).toBe(1);
  });

  const pairs = REPLIES.flatMap((order) => REPLIES.map((product) => [order, product] as const));
  test.each(pairs)("needs a yes from both: order %j, product %j", async (order, product) => {
    const { manager, of } = bench.manager();
    of("order").vote = () => order;
    of("product").vote = () => product;
    const result = await manager.run(REQUESTS, SHORT);
    if (order.kind === "yes" && product.kind === "yes") {
      expect(result.outcome).toBe("commit");
      return;
    }
    expect(result.outcome).toBe("abort");
    expect(of("order").times("commit") + of("product").times("commit")).toBe(0);
    // Where both have forgotten, a second txId is tried.
    expect(new Set([...of("order").states.values(), ...of("product").states.values()])).toEqual(
      new Set(["aborted"]),
    );
    // A no that was seen needs no record; every other abort is written before it is believed.
    const isRefused = order.kind === "no" || product.kind === "no";
    expect(await bench.stored(result.txId)).toBe(isRefused ? undefined : "abort");
  });

  test("is never the outcome where nobody is enlisted: nothing is minted or stored", async () => {
    const before = await bench.decisions();
    const { manager } = bench.manager({
      mint: () => {
        throw new Error("minted");
      },
    });
    await expect(manager.run({}, RUN)).rejects.toMatchObject({ type: "internal_error" });
    expect(await bench.decisions()).toBe(before);
  });

  test("is never the outcome where every participant throws", async () => {
    const { manager, of } = bench.manager();
    for (const name of ["order", "product"])
      of(name).before = (phase) => {
        if (phase === "prepare") throw new Error("broken");
      };
    const result = await manager.run(REQUESTS, RUN);
    expect(result).toMatchObject({ outcome: "abort", refusals: [], failures: [{}, {}] });
    expect(await bench.stored(result.txId)).toBe("abort");
  });

  test("is not the outcome where a participant answers more votes than it was asked for", async () => {
    const { manager, of } = bench.manager();
    of("product").prepare = async () => [YES, YES];
    expect(await manager.run(REQUESTS, SHORT)).toMatchObject({ outcome: "abort" });
  });

  test("does not wait for participants whose commit may be re-driven", async () => {
    const { manager, of } = bench.manager();
    const held = gate();
    of("product").before = (phase) => (phase === "commit" ? held.promise : undefined);
    const result = await manager.run(REQUESTS, RUN);
    expect(result).toMatchObject({ outcome: "commit", durable: ["order"] });
    expect(await bench.isSettled(result.txId)).toBe(false);
    held.open();
    await until("product acknowledged", () => bench.isSettled(result.txId));
  });

  test("repeats a commit that the awaited participant does not acknowledge at once", async () => {
    const { manager, of } = bench.manager();
    let failures = 2;
    of("order").before = (phase) => {
      if (phase === "commit" && failures-- > 0) throw new Error("connection lost");
    };
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "commit", durable: ["order"] });
    expect(of("order").times("commit")).toBe(3);
  });

  test.each(["contradiction", "unknown", "forgotten", "pending"] as const)(
    "is not acknowledged by the answer %s",
    async (reply) => {
      const { manager, of, alarms } = bench.manager();
      of("product").commit = async (txIds) => txIds.map(() => reply);
      const { txId } = await manager.run(REQUESTS, RUN);
      const waiting = () => bench.manager().register.unacknowledged(0, 1_000);
      const mine = await until("order acknowledged, product not", async () =>
        (await waiting()).find((commit) => commit.txId === txId && commit.participants.length === 1),
      );
      expect(mine.participants).toEqual(["product"]);
      expect(alarms.map((alarm) => alarm.detail)).toEqual(
        reply === "pending" ? [] : [{ txId, participant: "product" }],
      );
    },
  );
});

test("an abort that meets a commit alarms, and changes no outcome", async () => {
  const { manager, of, alarms } = bench.manager();
  of("order").vote = () => ({ kind: "no", reason: "key_taken" });
  of("product").abort = async (txIds) => txIds.map(() => "contradiction");
  const { txId, outcome } = await manager.run(REQUESTS, RUN);
  expect(outcome).toBe("abort");
  expect(alarms).toEqual([
    { message: "product had committed what is aborted", detail: { txId, participant: "product" } },
  ]);
});

describe("a run", () => {
  test("that is refused waits a second for one that is away, and says that it may hold something", async () => {
    const { manager, of } = bench.manager();
    of("order").vote = () => NO;
    of("product").abort = () => Promise.reject(new ShopError("unavailable", "away"));
    const startedAt = performance.now();
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "abort", released: false });
    expect(performance.now() - startedAt).toBeLessThan(1_500);
  });

  test("that is refused does not wait for who refused it", async () => {
    const { manager, of } = bench.manager();
    of("order").vote = () => NO;
    of("order").abort = () => Promise.reject(new ShopError("unavailable", "away"));
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "abort", released: true });
  });

  test("that is refused tells its abort until everybody has heard it, and says so", async () => {
    const { manager, of } = bench.manager();
    of("order").vote = () => NO;
    const abort = of("product").abort.bind(of("product"));
    let lost = 2;
    of("product").abort = async (txIds) => (lost-- > 0 ? txIds.map(() => "pending") : abort(txIds));
    const result = await manager.run(REQUESTS, RUN);
    expect(result).toMatchObject({ outcome: "abort", refusals: [{ participant: "order" }], released: true });
    expect(of("product").states.get(result.txId)).toBe("aborted");
  });

  test("hears of the first no without waiting for the other votes", async () => {
    const { manager, of } = bench.manager();
    const held = gate();
    of("product").before = (phase) => (phase === "prepare" ? held.promise : undefined);
    of("order").vote = () => NO;
    const result = await manager.run(REQUESTS, { ...RUN, prepareMs: 60_000, answerMs: 60_000 });
    expect(result).toMatchObject({
      outcome: "abort",
      refusals: [{ participant: "order", reason: "insufficient_stock", detail: { available: 1 } }],
    });
    held.open();
    await until("the overtaken prepare is answered", () => of("product").states.get(result.txId));
    expect(of("product").states.get(result.txId)).toBe("aborted");
  });

  test("asks again after pending, and counts the vote that comes", async () => {
    const { manager, of } = bench.manager();
    let slow = 2;
    of("product").vote = () => (slow-- > 0 ? { kind: "pending" } : YES);
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "commit" });
    expect(of("product").times("prepare")).toBe(3);
  });

  test("asks again where the participant was unavailable for a moment", async () => {
    const { manager, of } = bench.manager();
    let away = 2;
    of("product").before = (phase) => {
      if (phase === "prepare" && away-- > 0) throw new ShopError("unavailable", "restarting");
    };
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "commit" });
  });

  test("asks nobody again once another's no has ended it", async () => {
    const { manager, of } = bench.manager();
    of("order").vote = () => NO;
    of("product").before = () => {
      throw new ShopError("unavailable", "restarting");
    };
    expect(await manager.run(REQUESTS, RUN)).toMatchObject({ outcome: "abort" });
    const asked = of("product").times("prepare");
    await sleep(400);
    expect(of("product").times("prepare")).toBe(asked);
  });

  test("sends every participant its own request, its hash, and the time that is left", async () => {
    const { manager, of } = bench.manager();
    const seen: unknown[] = [];
    for (const name of ["order", "product"])
      of(name).vote = (entry) => {
        seen.push({
          name,
          request: entry.request,
          hash: entry.hash.length,
          late: entry.budgetMs > RUN.prepareMs,
        });
        return YES;
      };
    await manager.run(REQUESTS, RUN);
    expect(seen).toEqual([
      { name: "order", request: { of: "order" }, hash: 43, late: false },
      { name: "product", request: { of: "product" }, hash: 43, late: false },
    ]);
  });
});

describe("a run answers in time", () => {
  const BRIEF = { ...RUN, prepareMs: 60, answerMs: 120 };
  const timed = async <Result>(run: Promise<Result>): Promise<Result> => {
    const startedAt = performance.now();
    const result = await run;
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    return result;
  };

  test("although a participant never answers its prepare: that is a failure, and an abort", async () => {
    const { manager, of } = bench.manager();
    const held = gate();
    of("product").before = (phase) => (phase === "prepare" ? held.promise : undefined);
    const result = await timed(manager.run(REQUESTS, BRIEF));
    expect(result).toMatchObject({
      outcome: "abort",
      failures: [{ participant: "product", code: "deadline_exceeded" }],
    });
    expect(await bench.stored(result.txId)).toBe("abort");
    held.open();
    await settled();
    expect(result).toMatchObject({ refusals: [], failures: [{}] });
    expect(of("order").states.get(result.txId)).toBe("aborted");
  });

  test("although a participant never answers its abort", async () => {
    const { manager, of } = bench.manager();
    const held = gate();
    of("order").vote = () => NO;
    of("product").before = (phase) => (phase === "abort" ? held.promise : undefined);
    expect(await timed(manager.run(REQUESTS, BRIEF))).toMatchObject({ outcome: "abort", released: false });
    held.open();
  });

  test("although an awaited participant never answers its commit: it is not named as durable", async () => {
    const { manager, of } = bench.manager();
    const held = gate();
    of("order").before = (phase) => (phase === "commit" ? held.promise : undefined);
    const result = await timed(manager.run(REQUESTS, BRIEF));
    expect(result).toMatchObject({ outcome: "commit", durable: [] });
    held.open();
    await until("order acknowledged", () => bench.isSettled(result.txId));
    expect(result).toMatchObject({ durable: [] });
  });

  test.each(["commit", "abort"] as const)(
    "unknown where the register is silent, and carries out the %s that is stored later",
    async (outcome) => {
      const held = gate();
      const { manager, of, calls, register } = bench.manager({
        register: (real) => ({
          ...real,
          // Silent, then broken once: the INSERT is repeated until something is known.
          decide: (proposals) =>
            held.promise.then(() =>
              calls.length === 1 ? Promise.reject(new Error("connection lost")) : real.decide(proposals),
            ),
        }),
      });
      const result = await timed(manager.run(REQUESTS, BRIEF));
      expect(result).toMatchObject({ outcome: "unknown", prepared: ["order", "product"] });
      const { txId } = result;
      expect(await manager.outcome([{ txId, waitedMs: 1e9 }])).toEqual(["pending"]);
      if (outcome === "abort") await register.decide([{ txId, outcome, participants: [] }]);
      held.open();
      const final = outcome === "commit" ? "committed" : "aborted";
      for (const name of ["order", "product"])
        await until(`${name} follows`, () => of(name).states.get(txId) === final);
      expect(await manager.outcome([{ txId, waitedMs: 0 }])).toEqual([outcome]);
      await until("all is acknowledged", () => bench.isSettled(txId));
    },
  );

  test("and a stop ends the asking of a register that stays away", async () => {
    const { manager, calls } = bench.manager({
      register: (real) => ({ ...real, decide: () => Promise.reject(new Error("no register")) }),
    });
    expect(await timed(manager.run(REQUESTS, BRIEF))).toMatchObject({ outcome: "unknown" });
    const asked = calls.length;
    await until("it goes on asking", () => calls.length > asked);
    await timed(manager.settle());
  });
});

describe("a full mailbox", () => {
  test("answers overloaded, and nothing is durable anywhere", async () => {
    const { manager, of } = bench.manager({ capacity: 1, batchMax: 1 });
    await manager.run(REQUESTS, RUN); // enrols both
    const before = await bench.decisions();
    const held = gate();
    for (const name of ["order", "product"])
      of(name).before = (phase) => (phase === "prepare" ? held.promise : undefined);
    // Two batches in flight and one message waiting fill each mailbox.
    const accepted = [];
    for (let n = 0; n < 3; n++) {
      accepted.push(manager.run(REQUESTS, RUN));
      await settled();
    }
    await expect(manager.run(REQUESTS, RUN)).rejects.toMatchObject({ type: "overloaded" });
    expect(await bench.decisions()).toBe(before);
    expect(of("order").times("abort") + of("product").times("abort")).toBe(0);
    held.open();
    for (const result of await Promise.all(accepted)) expect(result.outcome).toBe("commit");
  });

  test("of one participant aborts at the others, which had been asked", async () => {
    const order = new MemoryParticipant();
    const product = new MemoryParticipant();
    const { manager } = bench.manager({ capacity: 1, batchMax: 1, participants: { order, product } });
    const held = gate();
    product.before = (phase) => (phase === "prepare" ? held.promise : undefined);
    const accepted = [];
    for (let n = 0; n < 3; n++) {
      accepted.push(manager.run(REQUESTS, RUN));
      await until("order has been asked", () => order.times("prepare") > n);
      await settled();
    }
    const refused = await manager.run(REQUESTS, RUN);
    expect(refused).toMatchObject({
      outcome: "abort",
      failures: [{ participant: "product", code: "overloaded" }],
    });
    expect(order.states.get(refused.txId)).toBe("aborted");
    held.open();
    await Promise.all(accepted);
  });
});

test("a message that expires in the mailbox never reaches the participant", async () => {
  const { manager, of } = bench.manager({ batchMax: 1 });
  const held = gate();
  of("product").before = (phase) => (phase === "prepare" ? held.promise : undefined);
  const stuck = [manager.run(REQUESTS, RUN), manager.run(REQUESTS, RUN)];
  await until("both batches are in flight", () => of("product").times("prepare") === 2);
  const late = manager.run(REQUESTS, { ...RUN, prepareMs: 20 });
  await until("order has voted on all three", () => of("order").times("prepare") === 3);
  const wait = performance.now();
  await until("the budget is over", () => performance.now() - wait > 30);
  held.open();
  const result = await late;
  expect(result).toMatchObject({
    outcome: "abort",
    failures: [{ participant: "product", code: "deadline_exceeded" }],
  });
  expect(
    of("product")
      .asked.filter((message) => message.phase === "prepare")
      .flatMap((m) => m.txIds),
  ).not.toContain(result.txId);
  await Promise.all(stuck);
});
