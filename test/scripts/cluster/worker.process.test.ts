/** A worker as its supervisor sees it, where no process comes to be. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { expect, test } from "@jest/globals";

const PROGRAM = `
  import { openSync } from "node:fs";
  import { Worker } from "./scripts/cluster/worker.process.ts";
  try { for (;;) openSync("/dev/null", "r"); } catch (err) { if (err.code !== "EMFILE") throw err; }
  const worker = new Worker({ nodeID: "user-1", services: ["user"], env: {}, print: () => undefined });
  const why = await worker.ready.catch((err) => err.message);
  process.stdout.write([why, await worker.ended, worker.state].join("|"));
`;

test("a worker for which there is no room has ended, and says why", async () => {
  const shell = `ulimit -n 64 && exec "$0" --input-type=module-typescript -e "$1"`;
  const child = spawn("sh", ["-c", shell, process.execPath, PROGRAM], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [why, how, state] = (await text(child.stdout)).split("|");
  expect(why).toMatch(/^user-1 ended with spawn .*EMFILE/);
  expect(how).toMatch(/EMFILE/);
  expect(state).toBe("ended");
});
