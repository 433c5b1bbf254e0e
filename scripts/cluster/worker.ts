/**
 * One node of a worker cluster, forked by the supervisor with SERVICES, NODEID and TRANSPORTER in its environment. It
 * tells its parent when it is ready; SIGTERM, or the parent's death, drains and ends it. SIGINT and SIGHUP are the
 * parent's to hear: a terminal sends them to all at once, and the order in which nodes stop matters.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { config } from "../../config/index.ts";
import { left, STOP_MS_MAX, stopCompilers } from "../../lib/stop.ts";
import { readiness } from "../../mixins/readiness.ts";
import { describe } from "../describe.ts";
import { createShop } from "../shop.ts";

/** From a worker to its supervisor. */
export type WorkerMessage = { kind: "ready" } | { kind: "failed"; reason: string };

const READY_POLL_MS = 25;
for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
process.on("SIGTERM", () => void stop());
process.on("disconnect", () => void stop());
// A parent that died while the modules were loaded has told nobody, and this node would wait for its servers for ever.
if (!process.connected) process.exit(1);

let stopping = false;
let exitCode = 0;
const broker = await createShop();
broker.onFatal = fail;
try {
  await broker.start();
  while (!stopping && (await readiness(broker, broker.expected)).status !== "ready")
    await sleep(READY_POLL_MS);
  if (!stopping) tell({ kind: "ready" });
} catch (err) {
  if (!stopping) await fail(err as Error);
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  stopCompilers();
  // The supervisor kills what takes longer; this is for the case that it is gone.
  setTimeout(() => process.exit(1), STOP_MS_MAX).unref();
  broker.giveUpConnecting();
  await broker.stop();
  process.exit(left.length > 0 ? 1 : exitCode);
}

/** The supervisor shows the reason where it reports a worker that keeps crashing. */
async function fail(err: Error): Promise<void> {
  exitCode = 1;
  tell({ kind: "failed", reason: describe(err, config.port) });
  await stop().catch(() => undefined);
}

function tell(message: WorkerMessage): void {
  if (process.connected) process.send?.(message);
}
