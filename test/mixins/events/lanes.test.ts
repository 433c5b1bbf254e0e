/** Lanes on their own: what goes side by side, what waits, and where a delivery stands when its time is over. */
import { expect, test } from "@jest/globals";
import { type Lane, Turns, workInLanes } from "../../../mixins/events/lanes.ts";
import { until } from "../../support/until.ts";

const lanes = (
  items: readonly string[],
  work: (item: string, lane: Lane) => Promise<void>,
  {
    turns = new Turns(),
    pausesMs = 1_000,
    msMax = 60_000,
    pause = async (_: number): Promise<void> => undefined,
  } = {},
) => workInLanes(items, { keyOf: ([key]) => key as string, work, turns, pausesMs, msMax, pause });

test("items of one key follow one another, and one that waits holds up no other key", async () => {
  const done: string[] = [];
  const gate = Promise.withResolvers<void>();
  const all = lanes(["a1", "b1", "a2", "b2", "c1"], async (item, lane) => {
    if (item === "a1") await gate.promise;
    await lane.turn(1, async () => void done.push(item));
  });
  await until("the others are done", () => done.length === 3);
  expect(done).toEqual(["b1", "c1", "b2"]);
  gate.resolve();
  expect(await all).toBe(5);
  expect(done.slice(3)).toEqual(["a1", "a2"]);
});

test("few turns at once, for all deliveries together; the first item of each never waits", async () => {
  const turns = new Turns();
  const gate = Promise.withResolvers<void>();
  const begun: string[] = [];
  let finished = 0;
  const delivery = (name: string) =>
    lanes(
      ["a", "b", "c", "d", "e"],
      (item, lane) =>
        lane.turn(1, async () => {
          begun.push(name + item);
          await gate.promise;
          finished++;
        }),
      { turns },
    );
  const both = [delivery("1"), delivery("2"), delivery("3")];
  await until("they have begun", () => begun.length >= 5);
  expect(begun).toEqual(["1a", "1b", "1c", "2a", "3a"]);
  gate.resolve();
  expect(await Promise.all(both)).toEqual([5, 5, 5]);
  expect(finished).toBe(15);
});

test("what was tried least has the next turn", async () => {
  const gate = Promise.withResolvers<void>();
  const order: string[] = [];
  await lanes(["a", "b", "c", "d", "e"], async (item, lane) => {
    if (item < "d") {
      if (item === "c") setImmediate(gate.resolve);
      await lane.turn(1, () => gate.promise);
    }
    await lane.turn(item === "d" ? 5 : 2, async () => void order.push(item));
  });
  expect(order.indexOf("d")).toBeGreaterThan(order.indexOf("e"));
});

test("when the time is over the result is how many are done from the first on, and nothing begins any more", async () => {
  const begun: string[] = [];
  const result = await lanes(
    ["a1", "b1", "c1", "a2", "d1"],
    async (item, lane) => {
      await lane.turn(1, async () => void begun.push(item));
      if (item === "c1") await lane.pause(0);
    },
    {
      msMax: 20,
      // The only wait is until the time is over.
      pause: async () => {
        const startedAt = performance.now();
        await until("the time is over", () => performance.now() > startedAt + 25);
      },
    },
  );
  expect(result).toBe(5);
  begun.length = 0;
  const late = await lanes(
    ["a1", "a2", "b1"],
    async (item, lane) => {
      for (let rank = 1; rank <= 3; rank++) await lane.turn(rank, async () => void begun.push(item));
    },
    { msMax: -1 },
  );
  // All wait for the very first one, so that each delivery gets on.
  expect(late).toBe(1);
  expect(begun).toEqual(["a1", "a1", "a1"]);
});

test("a lane that fails fails them all, after what was under way, and nothing begins any more", async () => {
  const gate = Promise.withResolvers<void>();
  const done: string[] = [];
  const all = lanes(["a1", "b1", "b2"], async (item, lane) => {
    if (item === "a1") throw new Error("not a try's fault");
    await lane.turn(1, () => gate.promise);
    done.push(item);
  });
  let isOver = false;
  const watched = all.finally(() => {
    isOver = true;
  });
  watched.catch(() => undefined);
  await new Promise(setImmediate);
  expect(isOver).toBe(false);
  gate.resolve();
  await expect(all).rejects.toThrow("not a try's fault");
  expect(done).not.toContain("b2");
});

test("the pauses of a lane are limited together", async () => {
  const pauses: number[] = [];
  const pause = async (ms: number) => void pauses.push(ms);
  await lanes(
    ["a1", "a2", "b1"],
    async (_, lane) => {
      await lane.pause(700);
      await lane.pause(700);
    },
    { pause },
  );
  expect(pauses.sort((one, other) => one - other)).toEqual([0, 0, 300, 300, 700, 700]);
});
