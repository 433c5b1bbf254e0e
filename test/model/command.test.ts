/** The command tells programs by its exit code what became of it, and people what to install. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { checked } from "./spin.ts";
import { COMMITTED, PREPARED, traceOf } from "./trace.ts";

const PROGRAM = path.resolve(import.meta.dirname, "../../scripts/model.ts");

function model(
  args: string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { env }, (err, stdout, stderr) =>
      resolve({ code: Number(err?.code ?? 0), output: stdout + stderr }),
    );
  });
}

async function replayed(lines: string, ...args: string[]) {
  const directory = await mkdtemp(path.join(tmpdir(), "concord-trace-"));
  try {
    const file = path.join(directory, "trace.jsonl");
    await writeFile(
      file,
      traceOf(lines)
        .map((step) => `${JSON.stringify(step)}\n`)
        .join(""),
    );
    return await model(["--trace", file, ...args]);
  } finally {
    await rm(directory, { recursive: true });
  }
}

checked("a trace that the model accepts is 0", async () => {
  expect(await replayed(COMMITTED("a"))).toMatchObject({
    code: 0,
    output: expect.stringContaining("all 11 steps accepted"),
  });
});

checked("a trace that it refuses is 1, with the line and what came before", async () => {
  const { code, output } = await replayed(`${PREPARED("a")}settle a order commit`);
  expect(code).toBe(1);
  expect(output).toContain("line 5: the model refuses it");
  expect(output).toContain("run 1, replaces 0");
  const { output: json } = await replayed(`${PREPARED("a")}settle a order commit`, "--json");
  expect(JSON.parse(json)).toMatchObject({ accepted: false, line: 5 });
});

checked("a configuration that is verified is 0, and a mutant that fails too", async () => {
  const { code, output } = await model(["--configuration", "attempts", "--json"]);
  expect(code).toBe(0);
  expect(JSON.parse(output)).toMatchObject({ configuration: "attempts", verified: true });
  const mutant = await model(["--mutant", "prune-before-ack", "--json"]);
  expect(mutant.code).toBe(0);
  expect(JSON.parse(mutant.output)).toMatchObject({
    mutant: "prune-before-ack",
    caught: true,
    violated: "no_flip",
  });
});

test("without spin it is 2, with how to get it", async () => {
  expect(await model([], { ...process.env, PATH: "/nonexistent" })).toEqual({
    code: 2,
    output: expect.stringContaining(
      "spin and gcc not found. On Debian and Ubuntu: sudo apt-get install spin gcc.",
    ),
  });
});

checked("a name that does not exist is 2, with those that do", async () => {
  expect(await model(["--mutant", "none"])).toEqual({
    code: 2,
    output: expect.stringContaining("forget-tombstone"),
  });
  expect(await model(["--configuration", "none"])).toEqual({
    code: 2,
    output: expect.stringContaining("three-attempts"),
  });
});
