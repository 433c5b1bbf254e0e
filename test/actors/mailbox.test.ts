import { describe, expect, test } from "@jest/globals";
import { realClock } from "../../actors/clock.ts";
import { Mailbox, type MailboxOptions } from "../../actors/mailbox.ts";
import { gate, settled } from "../support/until.ts";

/** A mailbox whose behaviour notes its batches, waits for `hold` where there is one, and answers each message ×10. */
function make(options: Partial<MailboxOptions<number, number>> = {}) {
  const batches: number[][] = [];
  const state: { hold: Promise<unknown> | undefined; nowMs: number } = { hold: undefined, nowMs: 0 };
  const mailbox = new Mailbox<number, number>({
    name: "test",
    clock: { ...realClock, now: () => state.nowMs },
    behaviour: async (batch) => {
      batches.push(batch);
      await state.hold;
      return batch.map((message) => message * 10);
    },
    ...options,
  });
  return { mailbox, batches, state };
}

const outcomes = async (asked: Promise<number>[]) =>
  (await Promise.allSettled(asked)).map((result) =>
    result.status === "fulfilled" ? result.value : ((result.reason as { type?: string }).type ?? "error"),
  );

describe("batching", () => {
  test("a lone message is a batch of one", async () => {
    const { mailbox, batches } = make();
    expect(await mailbox.ask(1)).toBe(10);
    expect(batches).toEqual([[1]]);
  });

  test("messages that arrive while a batch is worked on share the next one, oldest first", async () => {
    const { mailbox, batches, state } = make();
    const held = gate();
    state.hold = held.promise;
    const first = mailbox.ask(1);
    await settled();
    const later = [2, 3, 4].map((message) => mailbox.ask(message));
    await settled();
    expect(batches).toEqual([[1]]);
    held.open();
    expect(await Promise.all([first, ...later])).toEqual([10, 20, 30, 40]);
    expect(batches).toEqual([[1], [2, 3, 4]]);
  });

  test("a batch never exceeds batchMax", async () => {
    const { mailbox, batches } = make({ batchMax: 3 });
    await Promise.all([1, 2, 3, 4, 5, 6, 7].map((message) => mailbox.ask(message)));
    expect(batches).toEqual([[1, 2, 3], [4, 5, 6], [7]]);
  });

  test("a batch never exceeds batchBytesMax, but one larger message still travels alone", async () => {
    const { mailbox, batches } = make({ batchBytesMax: 10, bytesOf: (message) => message });
    await Promise.all([4, 6, 1, 50, 3].map((message) => mailbox.ask(message)));
    expect(batches).toEqual([[4, 6], [1], [50], [3]]);
  });

  test.each([1, 2, 3])("at most %i batches are worked on at once", async (inFlightMax) => {
    let atOnce = 0;
    let most = 0;
    const mailbox = new Mailbox<number, number>({
      name: "test",
      batchMax: 1,
      inFlightMax,
      behaviour: async (batch) => {
        most = Math.max(most, ++atOnce);
        await settled(10);
        atOnce--;
        return batch;
      },
    });
    await Promise.all(Array.from({ length: 20 }, (_, i) => mailbox.ask(i)));
    expect(most).toBe(inFlightMax);
  });

  test("replies reach their own askers, whatever the size of the batches", async () => {
    const { mailbox } = make({ batchMax: 7, inFlightMax: 2 });
    const messages = Array.from({ length: 500 }, (_, i) => i);
    expect(await Promise.all(messages.map((message) => mailbox.ask(message)))).toEqual(
      messages.map((message) => message * 10),
    );
  });
});

describe("messages that come together", () => {
  const failed = (err: unknown) => ((err as { type?: string }).type === "overloaded" ? -1 : -2);

  test("are one batch, and answered together in their order", async () => {
    const { mailbox, batches } = make();
    expect(await mailbox.askAll([3, 1, 2], failed)).toEqual([30, 10, 20]);
    expect(batches).toEqual([[3, 1, 2]]);
    expect(await mailbox.askAll([], failed)).toEqual([]);
  });

  test("wait with the others while a batch is worked on, and never exceed batchMax", async () => {
    const { mailbox, batches, state } = make({ batchMax: 3 });
    const held = gate();
    state.hold = held.promise;
    const first = mailbox.askAll([1, 2, 3, 4], failed);
    await settled();
    const later = [mailbox.ask(5), mailbox.askAll([6, 7], failed)];
    held.open();
    expect(await first).toEqual([10, 20, 30, 40]);
    expect(await Promise.all(later)).toEqual([50, [60, 70]]);
    expect(batches).toEqual([[1, 2, 3], [4, 5, 6], [7]]);
  });

  test("join a message that was sent in the same turn", async () => {
    const { mailbox, batches } = make();
    const asked = [mailbox.ask(1), mailbox.askAll([2, 3], failed)];
    expect(await Promise.all(asked)).toEqual([10, [20, 30]]);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  test("leave nothing behind where their sender throws between them", async () => {
    const { mailbox, batches } = make();
    const budgetMsOf = (message: number) => {
      if (message === 2) throw new Error("no budget");
      return 1_000;
    };
    await expect(mailbox.askAll([1, 2, 3], failed, budgetMsOf)).rejects.toThrow("no budget");
    await mailbox.drain();
    expect(batches).toEqual([[1]]);
  });

  test("fail one by one: those without room, those too late, those that the behaviour fails", async () => {
    const mailbox = new Mailbox<number, number>({
      name: "test",
      capacity: 4,
      behaviour: async (batch) => batch.map((message) => (message === 2 ? new Error("no two") : message)),
    });
    const budgetMsOf = (message: number) => (message === 3 ? 0 : 1_000);
    expect(await mailbox.askAll([1, 2, 3, 4, 5, 6], failed, budgetMsOf)).toEqual([1, -2, -2, 4, -1, -1]);
    await mailbox.drain();
    expect(await mailbox.askAll([7, 8], failed)).toEqual([-2, -2]);
  });
});

describe("limits", () => {
  test("a full mailbox answers overloaded at once and does nothing", async () => {
    const { mailbox, batches, state } = make({ capacity: 2, batchMax: 1 });
    const held = gate();
    state.hold = held.promise;
    const accepted = [mailbox.ask(1)];
    await settled();
    accepted.push(mailbox.ask(2), mailbox.ask(3));
    await expect(mailbox.ask(4)).rejects.toMatchObject({ type: "overloaded", data: { retryAfter: 1 } });
    held.open();
    expect(await Promise.all(accepted)).toEqual([10, 20, 30]);
    expect(batches.flat()).toEqual([1, 2, 3]);
    expect(mailbox.stats.overloaded).toBe(1);
  });

  test("a mailbox that was full takes messages again when it has room", async () => {
    const { mailbox } = make({ capacity: 1 });
    const first = mailbox.ask(1);
    await expect(mailbox.ask(2)).rejects.toMatchObject({ type: "overloaded" });
    await first;
    expect(await mailbox.ask(3)).toBe(30);
  });

  test("a message that expires while it waits never reaches the behaviour", async () => {
    const { mailbox, batches, state } = make();
    const held = gate();
    state.hold = held.promise;
    const first = mailbox.ask(1);
    await settled();
    const waiting = [mailbox.ask(2, 50), mailbox.ask(3, 51), mailbox.ask(4)];
    state.nowMs = 50;
    held.open();
    expect(await first).toBe(10);
    expect(await outcomes(waiting)).toEqual(["deadline_exceeded", 30, 40]);
    expect(batches).toEqual([[1], [3, 4]]);
    expect(mailbox.stats.expired).toBe(1);
  });

  test("a mailbox goes on after a batch in which everything expired", async () => {
    const { mailbox, batches } = make();
    expect(await outcomes([mailbox.ask(1, 0), mailbox.ask(2, -5)])).toEqual([
      "deadline_exceeded",
      "deadline_exceeded",
    ]);
    expect(batches).toEqual([]);
    expect(await mailbox.ask(3)).toBe(30);
  });
});

describe("failures", () => {
  const poisoned = (poison: ReadonlySet<number>, isolates: boolean) => {
    const batches: number[][] = [];
    const mailbox = new Mailbox<number, number>({
      name: "test",
      isolates: () => isolates,
      behaviour: async (batch) => {
        batches.push(batch);
        const culprit = batch.find((message) => poison.has(message));
        if (culprit !== undefined) throw Object.assign(new Error(`poison ${culprit}`), { type: "poison" });
        return batch;
      },
    });
    return { mailbox, batches };
  };

  test.each([[[0]], [[7]], [[3]], [[0, 7]], [[2, 3]], [[0, 1, 2, 3, 4, 5, 6, 7]]])(
    "poison messages %j of eight fail alone",
    async (culprits) => {
      const { mailbox } = poisoned(new Set(culprits), true);
      const messages = [0, 1, 2, 3, 4, 5, 6, 7];
      expect(await outcomes(messages.map((message) => mailbox.ask(message)))).toEqual(
        messages.map((message) => (culprits.includes(message) ? "poison" : message)),
      );
    },
  );

  test("a failure that concerns everybody fails the whole batch, once", async () => {
    const { mailbox, batches } = poisoned(new Set([1]), false);
    expect(await outcomes([0, 1, 2].map((message) => mailbox.ask(message)))).toEqual([
      "poison",
      "poison",
      "poison",
    ]);
    expect(batches).toHaveLength(1);
  });

  test("an Error among the replies rejects its own message alone", async () => {
    const mailbox = new Mailbox<number, number>({
      name: "test",
      behaviour: async (batch) => batch.map((message) => (message === 2 ? new Error("no two") : message)),
    });
    expect(await outcomes([1, 2, 3].map((message) => mailbox.ask(message)))).toEqual([1, "error", 3]);
  });

  test.each([0, 1, 3])("a behaviour that answers %i replies to two messages fails them", async (replies) => {
    const mailbox = new Mailbox<number, number>({
      name: "test",
      behaviour: async () => Array.from({ length: replies }, () => 1),
    });
    expect(await outcomes([mailbox.ask(1), mailbox.ask(2)])).toEqual(["error", "error"]);
  });

  test("failures in a row are counted and forgotten at the first success", async () => {
    let fails = true;
    const mailbox = new Mailbox<number, number>({
      name: "test",
      behaviour: async (batch) => {
        if (fails) throw new Error("down");
        return batch;
      },
    });
    for (const message of [1, 2, 3]) await mailbox.ask(message).catch(() => undefined);
    expect(mailbox.stats.failuresInARow).toBe(3);
    fails = false;
    await mailbox.ask(4);
    expect(mailbox.stats).toMatchObject({ failuresInARow: 0, failures: 3 });
  });
});

describe("drain", () => {
  test("refuses new messages, finishes those it holds, and then resolves", async () => {
    const { mailbox, state } = make({ batchMax: 1 });
    const held = gate();
    state.hold = held.promise;
    const asked = [mailbox.ask(1), mailbox.ask(2)];
    await settled();
    let drained = false;
    const draining = mailbox.drain().then(() => {
      drained = true;
    });
    await expect(mailbox.ask(3)).rejects.toMatchObject({ type: "unavailable" });
    await settled();
    expect(drained).toBe(false);
    held.open();
    await draining;
    expect(await Promise.all(asked)).toEqual([10, 20]);
    expect(mailbox.stats).toMatchObject({ depth: 0, inFlight: 0, messages: 2 });
  });

  test("resolves at once where there is nothing to do, and where all that waited has expired", async () => {
    await make().mailbox.drain();
    const { mailbox } = make();
    const expired = outcomes([mailbox.ask(1, 0)]);
    await mailbox.drain();
    expect(await expired).toEqual(["deadline_exceeded"]);
  });
});

describe("rest", () => {
  test("after a batch, the mailbox takes nothing until it has rested, and then all that came meanwhile", async () => {
    const { mailbox, batches } = make({ restMs: 30 });
    const startedAt = performance.now();
    await mailbox.ask(1);
    const later = [mailbox.ask(2)];
    await settled();
    later.push(mailbox.ask(3));
    expect(batches).toEqual([[1]]);
    await Promise.all(later);
    expect(batches).toEqual([[1], [2, 3]]);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(29);
  });

  test("draining does not begin another one", async () => {
    const { mailbox, batches } = make({ restMs: 30 });
    const asked = [mailbox.ask(1)];
    await settled();
    asked.push(mailbox.ask(2));
    await Promise.all([mailbox.drain(), ...asked]);
    expect(batches).toEqual([[1], [2]]);
  });
});

test("stats tell depth, batches, the largest of them, waiting and working time", async () => {
  const { mailbox, state } = make();
  const held = gate();
  state.hold = held.promise;
  const asked = [mailbox.ask(1)];
  await settled();
  asked.push(mailbox.ask(2), mailbox.ask(3));
  expect(mailbox.stats).toMatchObject({ depth: 2, inFlight: 1, batches: 1 });
  state.nowMs = 5;
  held.open();
  await Promise.all(asked);
  await settled();
  expect(mailbox.stats).toMatchObject({
    depth: 0,
    inFlight: 0,
    messages: 3,
    batches: 2,
    batchLargest: 2,
    waitMsTotal: 10,
    workMsTotal: 5,
  });
});
