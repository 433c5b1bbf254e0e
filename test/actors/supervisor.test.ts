import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { Supervisor } from "../../actors/supervisor.ts";
import { gate } from "../support/until.ts";

const warnings: unknown[][] = [];
const makeSupervisor = () => {
  warnings.length = 0;
  return new Supervisor({ warn: (...args) => warnings.push(args) });
};

/** A loop on a fake clock whose ticks answer what `next` says. */
function startLoop(supervisor: Supervisor, next: () => boolean | Promise<boolean>, intervalMs = 1_000) {
  const ticks: number[] = [];
  const hurry = supervisor.loop({
    name: "loop",
    intervalMs,
    tick: async () => {
      ticks.push(performance.now());
      return next();
    },
  });
  return { ticks, hurry };
}

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

describe("a loop", () => {
  test("ticks at once, then every interval, jittered by a fifth", async () => {
    jest.useFakeTimers();
    const supervisor = makeSupervisor();
    const { ticks } = startLoop(supervisor, () => false);
    await jest.advanceTimersByTimeAsync(0);
    expect(ticks).toHaveLength(1);
    for (let n = 2; n <= 20; n++) {
      await jest.advanceTimersToNextTimerAsync();
      expect(ticks).toHaveLength(n);
      const pause = (ticks[n - 1] as number) - (ticks[n - 2] as number);
      expect(pause).toBeGreaterThanOrEqual(799);
      expect(pause).toBeLessThanOrEqual(1_201);
    }
    await supervisor.stop();
  });

  test("ticks again without a pause while more is waiting", async () => {
    jest.useFakeTimers();
    const supervisor = makeSupervisor();
    let left = 3;
    const { ticks } = startLoop(supervisor, () => --left > 0);
    await jest.advanceTimersByTimeAsync(10);
    expect(ticks).toHaveLength(3);
    await supervisor.stop();
  });

  test("backs off when it fails, tells why, and counts as failing from the fifth time on", async () => {
    jest.useFakeTimers();
    const supervisor = makeSupervisor();
    let broken = true;
    const { ticks, hurry } = startLoop(supervisor, () => {
      if (broken) throw new Error("no register");
      return false;
    });
    const pauses: number[] = [];
    await jest.advanceTimersByTimeAsync(0);
    for (let failures = 1; failures <= 7; failures++) {
      expect(ticks).toHaveLength(failures);
      expect(supervisor.states()).toEqual([
        { name: "loop", kind: "loop", failing: failures >= 5, lastError: "no register" },
      ]);
      hurry(); // a loop that waits out a back-off is not hurried
      await jest.advanceTimersByTimeAsync(0);
      expect(ticks).toHaveLength(failures);
      await jest.advanceTimersToNextTimerAsync();
      pauses.push((ticks[failures] as number) - (ticks[failures - 1] as number));
    }
    expect(warnings).toHaveLength(8);
    for (const [i, pause] of pauses.entries()) {
      const most = Math.min(2_000 * 2 ** i, 5_000);
      expect(pause).toBeGreaterThanOrEqual(most / 2 - 1);
      expect(pause).toBeLessThanOrEqual(most + 1);
    }
    broken = false;
    await jest.advanceTimersToNextTimerAsync();
    expect(supervisor.states()).toEqual([{ name: "loop", kind: "loop", failing: false }]);
    await supervisor.stop();
  });

  test("can be brought forward", async () => {
    jest.useFakeTimers();
    const supervisor = makeSupervisor();
    const { ticks, hurry } = startLoop(supervisor, () => false);
    await jest.advanceTimersByTimeAsync(0);
    hurry();
    await jest.advanceTimersByTimeAsync(0);
    expect(ticks).toHaveLength(2);
    await supervisor.stop();
  });

  test("that fails leaves its neighbours alone", async () => {
    jest.useFakeTimers();
    const supervisor = makeSupervisor();
    startLoop(supervisor, () => {
      throw new Error("broken");
    });
    const { ticks } = startLoop(supervisor, () => false, 100);
    await jest.advanceTimersByTimeAsync(1_000);
    expect(ticks.length).toBeGreaterThanOrEqual(8);
    await supervisor.stop();
  });
});

describe("stop", () => {
  test("waits for the tick that runs, and none follows", async () => {
    jest.useFakeTimers();
    const supervisor = makeSupervisor();
    const held = gate<boolean>();
    const { ticks, hurry } = startLoop(supervisor, () => held.promise);
    await jest.advanceTimersByTimeAsync(0);
    let stopped = false;
    const stopping = supervisor.stop().then(() => {
      stopped = true;
    });
    await jest.advanceTimersByTimeAsync(0);
    expect(stopped).toBe(false);
    held.open(true);
    await stopping;
    hurry();
    await jest.advanceTimersByTimeAsync(60_000);
    expect(ticks).toHaveLength(1);
    expect(jest.getTimerCount()).toBe(0);
  });

  test("lets a tick finish that waits for a mailbox, and drains the mailboxes after the loops", async () => {
    const supervisor = makeSupervisor();
    const done: string[] = [];
    const held = gate();
    const mailbox = supervisor.mailbox<string, string>({
      name: "slow",
      behaviour: async (batch) => {
        await held.promise;
        done.push(...batch);
        return batch;
      },
    });
    const ticked = gate();
    supervisor.loop({
      name: "asker",
      intervalMs: 1,
      tick: async () => {
        ticked.open();
        await mailbox.ask("from the loop");
        done.push("tick");
        return false;
      },
    });
    await ticked.promise;
    const stopping = supervisor.stop();
    held.open();
    await stopping;
    expect(done).toEqual(["from the loop", "tick"]);
    await expect(mailbox.ask("late")).rejects.toMatchObject({ type: "unavailable" });
  });
});

test("a mailbox that asks another node does not make its actor fail", async () => {
  const supervisor = makeSupervisor();
  const box = supervisor.mailbox({
    name: "box",
    failsElsewhere: true,
    behaviour: () => Promise.reject(new Error("away")),
  });
  for (let times = 0; times < 6; times++) await expect(box.ask(1)).rejects.toThrow("away");
  expect(supervisor.states()[0]).toMatchObject({ failing: false, stats: { failuresInARow: 6 } });
});

test("a mailbox that has failed and is sent nothing more is given another chance", async () => {
  jest.useFakeTimers();
  const supervisor = makeSupervisor();
  const box = supervisor.mailbox<number, number>({
    name: "box",
    behaviour: () => Promise.reject(new Error("disk full")),
  });
  const failing = () => supervisor.states()[0]?.failing;
  for (let times = 0; times < 5; times++) await expect(box.ask(times)).rejects.toThrow("disk full");
  await jest.advanceTimersByTimeAsync(9_900);
  expect(failing()).toBe(true);
  await jest.advanceTimersByTimeAsync(100);
  expect(failing()).toBe(false);
  // One failure is enough to take it back.
  await expect(box.ask(6)).rejects.toThrow("disk full");
  expect(failing()).toBe(true);
  await supervisor.stop();
});

test("a mailbox whose batches keep failing makes its actor fail, and one success ends that", async () => {
  const supervisor = makeSupervisor();
  let broken = true;
  const mailbox = supervisor.mailbox<number, number>({
    name: "box",
    behaviour: async (batch) => {
      if (broken) throw new Error("down");
      return batch;
    },
  });
  for (let failures = 1; failures <= 5; failures++) {
    expect(supervisor.states()[0]).toMatchObject({ name: "box", kind: "mailbox", failing: false });
    await mailbox.ask(failures).catch(() => undefined);
  }
  expect(supervisor.states()[0]).toMatchObject({ failing: true });
  broken = false;
  await mailbox.ask(6);
  expect(supervisor.states()[0]).toMatchObject({ failing: false });
  await supervisor.stop();
});
