import { afterEach, expect, jest, test } from "@jest/globals";
import { left, STEPS_MS_MAX, STOP_MS_MAX, stopStep } from "../../lib/stop.ts";

const said: string[] = [];
const step = (work: Promise<unknown>) =>
  stopStep("actors", { warn: (line: unknown) => said.push(line as string) }, work, () => "the loop relay");
const never = new Promise<void>(() => undefined);

afterEach(() => {
  jest.useRealTimers();
  said.length = 0;
  left.length = 0;
});

test("a step that ends soon says nothing, and a failure of it passes", async () => {
  await step(Promise.resolve());
  await expect(step(Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect([said, left]).toEqual([[], []]);
});

test("a step says after two seconds what it waits for, and is left when its time is over", async () => {
  jest.useFakeTimers();
  let isOver = false;
  const stopping = step(never).then(() => {
    isOver = true;
  });
  await jest.advanceTimersByTimeAsync(1_999);
  expect(said).toEqual([]);
  await jest.advanceTimersByTimeAsync(1);
  expect(said).toEqual(["stopping: after 2.0 s waits for the loop relay"]);
  await jest.advanceTimersByTimeAsync(STEPS_MS_MAX.actors - 2_001);
  expect([isOver, left]).toEqual([false, []]);
  await jest.advanceTimersByTimeAsync(1);
  await stopping;
  expect(said[1]).toBe("stopping: after 3.0 s goes on without the loop relay");
  expect(left).toEqual(["the loop relay"]);
  expect(jest.getTimerCount()).toBe(0);
});

test("all steps in a row fit what supervisors are told", () => {
  const sum = Object.values<number>(STEPS_MS_MAX).reduce((total, ms) => total + ms, 0);
  expect(STOP_MS_MAX).toBeGreaterThan(sum);
});
