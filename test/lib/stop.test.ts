import { execFile } from "node:child_process";
import { promisify } from "node:util";
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

/** What V8 compiles of two hundred functions that are called often, before and after. */
const COMPILED = `
  const { stopCompilers } = await import("./lib/stop.ts");
  function callOften(name) {
    const functions = Array.from({ length: 200 }, (_, i) => new Function("a", "/*" + name + i + "*/ let n = 0; for (const x of a) n += x; return n"));
    const end = performance.now() + 300;
    while (performance.now() < end) for (const f of functions) f([1, 2, 3]);
  }
  callOften("before");
  stopCompilers();
  await new Promise((resolve) => setTimeout(resolve, 200));
  console.log("the stop has begun");
  callOften("after");
  process.exit(0);
`;

test("a process that stops has nothing compiled any more, so its exit waits for no compiler", async () => {
  const traced = ["--trace-opt", "--input-type=module", "-e", COMPILED];
  const { stdout } = await promisify(execFile)(process.execPath, traced, { maxBuffer: 100_000_000 });
  const [before, after] = stdout.split("the stop has begun");
  expect(before).toContain("completed compiling");
  expect(after).not.toContain("compiling");
});

test("all steps in a row fit what supervisors are told", () => {
  const { leave, calls, manager, mail, ...others } = STEPS_MS_MAX;
  expect(mail).toBeGreaterThan(leave + calls + manager);
  const sum = Object.values<number>(others).reduce((total, ms) => total + ms, 0);
  expect(STOP_MS_MAX).toBeGreaterThan(mail + sum);
});
