/** What the real code did in the simulator is a run that the model allows: two programs, one protocol. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { expect } from "@jest/globals";
import { checked } from "./spin.ts";

const run = promisify(execFile);
const SCRIPTS = path.resolve(import.meta.dirname, "../../scripts");
/** Enough for crashes, aborts, rebound keys and pruning to be among them; a seed is one run, for good. */
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];

checked(
  "traces of the real code are replayed against the model, step by step",
  async () => {
    const directory = await mkdtemp(path.join(tmpdir(), "concord-trace-"));
    try {
      for (const seed of SEEDS) {
        const file = path.join(directory, `${seed}.jsonl`);
        const simulate = [path.join(SCRIPTS, "simulate.ts"), "--seed", `${seed}`, "--seeds", "1"];
        await run(process.execPath, [...simulate, "--trace", file]);
        const { stdout } = await run(process.execPath, [
          path.join(SCRIPTS, "model.ts"),
          "--trace",
          file,
          "--json",
        ]);
        expect({ seed, ...JSON.parse(stdout) }).toMatchObject({ seed, accepted: true });
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  },
  120_000,
);
