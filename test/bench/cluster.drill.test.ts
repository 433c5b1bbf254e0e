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

async function run(...args: string[]): Promise<{ code: number | null; line: unknown; stderr: string }> {
  const child = spawn(process.execPath, ["bench/drill.ts", ...args, "--json"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: child.exitCode, line: JSON.parse(stdout), stderr };
}

describe("a drill of a cluster", () => {
  test(
    "retry-storm: 16 calls with the framework's retries, and next to none more with ours",
    async () => {
      const { code, line, stderr } = await run("retry-storm");
      expect({ line, stderr }).toMatchObject({
        line: { drill: "retry-storm", factorFramework: 16, ok: true },
      });
      expect(code).toBe(0);
    },
    DRILL_MS_MAX,
  );

  test(
    "nats-outage: the cluster heals by itself, and no worker has ended",
    async () => {
      const { code, line, stderr } = await run("nats-outage", "--seconds", "5");
      expect({ line, stderr }).toMatchObject({
        line: { drill: "nats-outage", workersLost: [], inDoubt: 0, auditOk: true, ok: true },
      });
      expect(code).toBe(0);
    },
    DRILL_MS_MAX,
  );
});
