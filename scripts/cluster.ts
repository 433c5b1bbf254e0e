/**
 * `npm run cluster`: the shop as a worker cluster on this machine, until Ctrl-C drains it. `-- --scale product=2,order=2`
 * says how many processes each service gets, `-- --kafka` has events go over a Kafka; `-- status [--json]` shows the one
 * that runs, `-- restart [SERVICE ...]` restarts it without an interruption. The cluster itself is cluster/cluster.ts;
 * this is its command line.
 */
import { constants } from "node:os";
import { outliveTerminal, STOP_SIGNALS, type StopSignal, stopCompilers } from "../lib/stop.ts";
import { readArguments } from "./arguments.ts";
import { greeting } from "./banner.ts";
import type { Cluster } from "./cluster/cluster.ts";
import { describe } from "./describe.ts";

// npm passes a terminal's Ctrl-C on to us, which the terminal has sent already.
const ECHO_MS = 1_000;

const USAGE =
  "usage: npm run cluster [-- [--scale SERVICE=N,...] [--kafka] | status [--json] | restart [SERVICE ...]]";

let cluster: Cluster | undefined;
let closeControl: (() => Promise<void>) | undefined;
let starting: Promise<void> = Promise.resolve();
let stopping: { since: number } | undefined;
let port: number | undefined;

try {
  await main();
} catch (err) {
  await fail(err);
}

async function main(): Promise<void> {
  const { values, positionals } = readArguments(USAGE, {
    allowPositionals: true,
    options: { scale: { type: "string" }, kafka: { type: "boolean" }, json: { type: "boolean" } },
  });
  const [command, ...services] = positionals;
  // Not static: a faulty configuration throws when it is read.
  const { config } = await import("../config/index.ts");
  port = config.port;
  if (command === "status") {
    const { askStatus } = await import("./cluster/control.ts");
    const { statusTable } = await import("./cluster/status.table.ts");
    const status = await askStatus(config.dataDir);
    console.log(values.json ? JSON.stringify(status) : statusTable(status));
  } else if (command === "restart") {
    const { askRestart } = await import("./cluster/control.ts");
    await askRestart(config.dataDir, services, (line) => console.log(line));
    console.log("every worker was replaced");
  } else if (command === undefined) {
    for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
    outliveTerminal();
    starting = run(values.scale ?? "", values.kafka ?? false);
    await starting;
  } else {
    throw new Error(`there is no command ${command}; ${USAGE}`);
  }
}

async function run(scale: string, kafka: boolean): Promise<void> {
  const { config } = await import("../config/index.ts");
  const { startCluster } = await import("./cluster/cluster.ts");
  const { refuseSecondCluster, serveControl } = await import("./cluster/control.ts");
  const { parseScale } = await import("./cluster/plan.ts");
  refuseSecondCluster(config.dataDir);
  const print = (line: string): void => console.log(line);
  cluster = await startCluster({ scale: parseScale(scale), kafka, say: print, print });
  if (stopping) return;
  closeControl = await serveControl(cluster);
  const { email, password, isNew } = cluster.administrator;
  if (config.environment !== "production")
    console.log(await greeting(cluster.url, config, isNew ? password : null));
  else if (isNew) console.log(`admin ${email}, password ${password} (made now and shown this once)`);
}

function onSignal(signal: StopSignal): void {
  if (stopping) {
    // Closing the terminal is not impatience.
    if (signal !== "SIGHUP" && performance.now() - stopping.since > ECHO_MS)
      process.exit(128 + constants.signals[signal]);
    return;
  }
  stopping = { since: performance.now() };
  console.log(`\n${signal}: finishing what is in flight ... (once more to exit at once)`);
  void stop().then((clean) => process.exit(clean ? 0 : 1));
}

async function stop(): Promise<boolean> {
  stopCompilers();
  await starting.catch(() => undefined);
  await closeControl?.();
  return (await cluster?.stop()) ?? true;
}

async function fail(err: unknown): Promise<void> {
  if (stopping) return;
  console.error(`npm run cluster: ${describe(err, port)}`);
  process.exitCode = 1;
}
