/** The short drills of a cluster, as a person runs them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "@jest/globals";
import { startNats } from "../../scripts/servers/nats.ts";
import { describeWith } from "../harness/servers.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
// Fourteen processes start, and the other worker's test file wants the processors too.
const DRILL_MS_MAX = 240_000;

const describe = await describeWith(startNats);

/** Its line. Rejects with all that it said where it failed. */
async function run(...args: string[]): Promise<unknown> {
  const child = spawn(process.execPath, ["bench/drill.ts", ...args, "--json"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  if (child.exitCode !== 0) throw new Error(`it ended with ${child.exitCode}: ${stderr}${stdout}`);
  return JSON.parse(stdout);
}

describe("a drill of a cluster", () => {
  test(
    "retry-storm: 16 calls with the framework's retries, and next to none more with ours",
    async () => {
      const line = await run("retry-storm");
      expect(line).toMatchObject({ drill: "retry-storm", factorFramework: 16, ok: true });
    },
    DRILL_MS_MAX,
  );

  test(
    "nats-outage: the cluster heals by itself, and no worker has ended",
    async () => {
      const line = await run("nats-outage", "--seconds", "5");
      expect(line).toMatchObject({
        drill: "nats-outage",
        ...{ workersLost: [], inDoubt: 0, auditOk: true, ok: true },
      });
    },
    DRILL_MS_MAX,
  );
});
