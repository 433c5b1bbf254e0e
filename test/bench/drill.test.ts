/** The two short drills as a person runs them: child processes with shops of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "@jest/globals";
import { until } from "../support/until.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
// A drill makes a database cluster, and the other worker's test file wants the processors too.
const DRILL_MS_MAX = 60_000;

const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, "exit");
    // It cleans up after itself; SIGKILL would leave its shop behind.
    child.kill("SIGTERM");
    await exited;
  }
});

function start(...args: string[]) {
  const child = spawn(process.execPath, ["bench/drill.ts", ...args], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const stdout = text(child.stdout);
  const stderr = text(child.stderr);
  const ended = once(child, "close");
  return {
    child,
    result: async () => {
      await ended;
      return { code: child.exitCode, stdout: await stdout, stderr: await stderr };
    },
  };
}

const run = (...args: string[]) => start(...args).result();

const lastLine = (stdout: string): unknown => JSON.parse(stdout.trim().split("\n").at(-1) as string);

test(
  "sell-out sells what there is, and its last line says so",
  async () => {
    const { code, stdout, stderr } = await run("sell-out", "--times", "1");
    expect({ stderr, line: lastLine(stdout) }).toMatchObject({
      line: {
        drill: "sell-out",
        sold: [50],
        refused: [150],
        other: [0],
        serverErrors: [0],
        auditOk: true,
        ok: true,
      },
    });
    expect(stdout.trim().split("\n").length).toBeGreaterThan(1);
    expect(code).toBe(0);
  },
  DRILL_MS_MAX,
);

test(
  "same-key makes one order and one payment, and --json prints one line",
  async () => {
    const { code, stdout, stderr } = await run("same-key", "--times", "1", "--json");
    expect({ stderr, line: lastLine(stdout) }).toMatchObject({
      line: { drill: "same-key", ordersPerKey: [1], paymentsPerKey: [1], strays: 0, auditOk: true, ok: true },
    });
    expect(stdout.trim().split("\n")).toHaveLength(1);
    expect(code).toBe(0);
  },
  DRILL_MS_MAX,
);

test(
  "a drill that is interrupted leaves nothing behind, and fails",
  async () => {
    const drill = start("sell-out");
    let said = "";
    drill.child.stderr?.on("data", (chunk: Buffer) => {
      said += chunk;
    });
    const data = await until("a shop is starting", () => /data in (\S+)/.exec(said)?.[1], DRILL_MS_MAX);
    const directory = path.dirname(data);
    await until("its PostgreSQL is there", async () => (await readdir(directory)).includes("data"));
    drill.child.kill("SIGINT");
    const { code, stdout } = await drill.result();
    expect(lastLine(stdout)).toMatchObject({
      drill: "sell-out",
      ok: false,
      error: expect.stringContaining("SIGINT"),
    });
    expect(code).toBe(1);
    expect(await readdir(tmpdir())).not.toContain(path.basename(directory));
  },
  DRILL_MS_MAX,
);

test("without a name the drills are listed, one line each", async () => {
  const { code, stdout } = await run();
  const names = [
    ...["kill-replay", "slow-card", "sell-out", "same-key", "first-order", "rolling-restart"],
    ...["kill-node", "slow-node", "retry-storm", "overload", "partition", "nats-outage"],
    ...["events-chaos", "duplicates", "events-down"],
  ];
  for (const name of names)
    expect(stdout.split("\n").filter((line) => line.startsWith(`  ${name} `))).toHaveLength(1);
  expect(code).toBe(0);
});

test.each([
  ["an unknown name", ["no-such-drill"], /there is no drill no-such-drill\n.*usage/s],
  [
    "an option of another drill",
    ["sell-out", "--seed", "1"],
    /sell-out takes no --seed, only --times, --json/,
  ],
  [
    "a number that is none",
    ["sell-out", "--times", "many"],
    /--times many: expected a whole number of at least 1/,
  ],
])("%s is refused, and nothing is started", async (_what, args, message) => {
  const { code, stdout, stderr } = await run(...args);
  expect(stderr).toMatch(message);
  expect(stdout).toBe("");
  expect(code).toBe(1);
});
