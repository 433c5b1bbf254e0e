/**
 * Runs spin, in a temporary directory of its own that it removes: the exhaustive verification of a model (spin writes
 * a verifier in C, gcc compiles it) and the simulation of a replay. It only reports what spin said.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

const MODELS = path.resolve(import.meta.dirname, "../../docs/model");
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
/** The deepest search is some hundred steps; where this is reached the verification was not exhaustive, and fails. */
const DEPTH_MAX = 1_000_000;
const MEMORY_MB_MAX = 4_096;

export interface Verification {
  verified: boolean;
  /** What was violated, where something was. */
  violated: string | undefined;
  states: number;
  seconds: number;
  /** The steps that lead to the violation, one per line. */
  history: string[];
}

interface Finished {
  code: number;
  output: string;
}

/** What is not there of what verification, or the replay alone, needs. */
export async function missing(tools: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    tools.map((tool) => run(tool, [tool === "spin" ? "-V" : "--version"], tmpdir()).catch(() => undefined)),
  );
  return tools.filter((_, i) => found[i] === undefined);
}

/** `optimize`: worth a second of gcc's time where millions of states follow, and not where a violation is near. */
export function verify(
  defines: readonly string[],
  { isLiveness, optimize }: { isLiveness: boolean; optimize: boolean },
): Promise<Verification> {
  return inTemporary(async (directory) => {
    const model = path.join(MODELS, "verify.pml");
    await must("spin", [...defines.map((define) => `-D${define}`), "-a", model], directory);
    // NOREDUCE: every step touches what the others read, so there is nothing to reduce, only the cost of trying.
    const options = [
      "-DNOREDUCE",
      "-DNOFAIR",
      `-DMEMLIM=${MEMORY_MB_MAX}`,
      ...(isLiveness ? [] : ["-DSAFETY"]),
    ];
    await must("gcc", [optimize ? "-O2" : "-O0", "-w", ...options, "-o", "pan", "pan.c"], directory);
    const pan = path.join(directory, "pan");
    const before = performance.now();
    const { output } = await run(pan, [`-m${DEPTH_MAX}`, ...(isLiveness ? ["-a"] : [])], directory);
    const seconds = Math.round((performance.now() - before) / 10) / 100;
    const states = Number(/([\d.e+]+) states, stored/.exec(output)?.[1] ?? Number.NaN);
    const errors = /errors: (\d+)/.exec(output)?.[1];
    const isCutShort = errors === "0" && /Search not completed|max search depth too small/.test(output);
    if (errors === undefined || isCutShort) throw new Error(`the verifier did not finish:\n${output}`);
    if (errors === "0") return { verified: true, violated: undefined, states, seconds, history: [] };
    const names = defines.map((define) => `-D${define}`);
    const { output: trail } = await run(
      "spin",
      [...names, "-T", "-k", `${path.basename(model)}.trail`, model],
      directory,
    );
    return {
      verified: false,
      violated: /violated: (\w+)/.exec(trail)?.[1] ?? (isLiveness ? "everybody_ends" : "unknown"),
      states,
      seconds,
      history: stepsOf(trail),
    };
  });
}

/** What the steps of rules.pml print. */
const STEP =
  /^(run \d|driver of|decision on|the |an inquiry|participant \d|vote of|violated|refused|accepted|<+START OF CYCLE)/;

/** Up to the violation: spin goes on to the end of the step in which it happens. */
function stepsOf(output: string): string[] {
  const steps = output
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => STEP.test(line));
  const violation = steps.findIndex((step) => step.startsWith("violated"));
  return violation < 0 ? steps : steps.slice(0, violation + 1);
}

export interface Replay {
  accepted: boolean;
  /** The step, counted from 1, that the model refuses or at which a property breaks. */
  refusedAt: number | undefined;
  violated: string | undefined;
  history: string[];
}

/** Replays a trace: `text` is what promela.ts makes of it. */
export function replay(text: string): Promise<Replay> {
  return inTemporary(async (directory) => {
    const file = path.join(directory, "trace.pml");
    await writeFile(file, `${text}#include "${path.join(MODELS, "replay.pml")}"\n`);
    const { output } = await run("spin", ["-T", file], directory);
    const accepted = /^accepted: /m.test(output);
    const refused = /^refused: step (\d+)/m.exec(output)?.[1];
    const violated = /violated: (\w+)/.exec(output)?.[1];
    const stoppedAt = /^\s+at = (\d+)/m.exec(output)?.[1];
    if (!accepted && refused === undefined && violated === undefined)
      throw new Error(`spin could not replay the trace:\n${output}`);
    return {
      accepted,
      refusedAt: accepted ? undefined : Number(refused ?? Number(stoppedAt) + 1),
      violated,
      history: stepsOf(output),
    };
  });
}

async function inTemporary<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const directory = await mkdtemp(path.join(tmpdir(), "concord-model-"));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function must(program: string, args: string[], cwd: string): Promise<void> {
  const { code, output } = await run(program, args, cwd);
  if (code !== 0 || /syntax error|: error:/i.test(output)) throw new Error(`${program} failed:\n${output}`);
}

/** Rejects only where the program cannot be started or was killed; an exit code is the caller's to judge. */
function run(program: string, args: string[], cwd: string): Promise<Finished> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, maxBuffer: OUTPUT_BYTES_MAX }, (err, stdout, stderr) => {
      if (err && typeof err.code !== "number") reject(err);
      else resolve({ code: Number(err?.code ?? 0), output: stdout + stderr });
    });
  });
}
