/** The program behind npm run simulate: its lines for programs, its exit codes, its trace. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";

const ROOT = path.resolve(import.meta.dirname, "../..");

function simulate(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ["scripts/simulate.ts", ...args], { cwd: ROOT }, (err, stdout, stderr) =>
      resolve({ code: err ? Number(err.code) : 0, stdout, stderr }),
    );
  });
}

test("--json prints one line with the sums, and exits with 0 where nothing is violated", async () => {
  const { code, stdout } = await simulate("--seeds", "12", "--seed", "100", "--json");
  expect(JSON.parse(stdout)).toEqual({
    seeds: 12,
    steps: expect.any(Number),
    crashes: expect.any(Number),
    violations: 0,
    inDoubtMax: expect.any(Number),
  });
  expect(code).toBe(0);
});

test("a mutant prints the seed that catches it, which catches it alone, too", async () => {
  const all = await simulate("--mutant", "vote-before-durable", "--json");
  expect(all.code).toBe(0);
  const { seed, ...line } = JSON.parse(all.stdout);
  expect(line).toEqual({ mutant: "vote-before-durable", caught: true });
  const alone = await simulate("--mutant", "vote-before-durable", "--seed", String(seed));
  expect(alone.stdout).toContain(`caught by seed ${seed}`);
  expect(alone.stdout).toMatch(/VIOLATION at \d+ ms: \w+ says yes to tx\d+ and has not recorded it/);
});

test("--trace writes what became durable in one seed, a JSON object on each line", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "trace-"));
  try {
    const file = path.join(folder, "trace.jsonl");
    expect((await simulate("--seed", "3", "--trace", file)).code).toBe(0);
    const lines = (await readFile(file, "utf8"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    for (const line of lines)
      expect(line).toMatchObject({
        at: expect.any(Number),
        node: expect.any(String),
        step: expect.any(String),
      });
    expect(lines.map(({ step }) => step)).toEqual(
      expect.arrayContaining(["run", "vote", "decide", "settle", "answer"]),
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.each([
  [["--seeds", "none"], "expected a whole number"],
  [["--mutant", "nobody"], "there is no mutant nobody; there are"],
])("%j exits with 1 and says what is wrong", async (args, expected) => {
  const { code, stderr } = await simulate(...args);
  expect(code).toBe(1);
  expect(stderr).toContain(expected);
});
