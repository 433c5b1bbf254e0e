/**
 * `npm run bench`: orders per second of the shop's batched two-phase commit against one local transaction, on one
 * PostgreSQL with default durability, all in one run. Every arm gets fresh databases; every arm of ours is audited
 * when it is done, and a violated invariant fails the run.
 *
 *   npm run bench [-- --quick] [--json] [--arms local,2pc] [--skus 1000,1] [--clients 1,32] [--seconds N]
 */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { readArguments } from "../scripts/arguments.ts";
import { ensurePostgres } from "../scripts/postgres.ts";
import type { CheckoutArm } from "./job.ts";
import type { Measured } from "./load.ts";
import { layOutLog, runCheckoutArm, runRestArm } from "./run-arm.ts";

type Arm = CheckoutArm | "rest";

const ARMS: readonly Arm[] = ["local", "local-1stmt", "xa", "2pc-batch1", "2pc", "rest"];
const FULL = { arms: ARMS, seconds: 5, probeSeconds: 1, clients: () => [1, 8, 32, 128] };
const QUICK = {
  arms: ["local", "local-1stmt", "2pc", "rest"] as readonly Arm[],
  seconds: 3,
  probeSeconds: 0.6,
  clients: (arm: Arm) => (arm === "rest" ? [64, 128] : arm === "2pc" ? [1, 32, 128] : [1, 8, 32]),
};

const USAGE =
  "usage: npm run bench [-- --quick] [--json] [--arms local,2pc] [--skus 1000,1] [--clients 1,32] [--seconds N]";

const { values } = readArguments(USAGE, {
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    arms: { type: "string" },
    skus: { type: "string", default: "1000,1" },
    clients: { type: "string" },
    seconds: { type: "string" },
  },
});
const plan = values.quick ? QUICK : FULL;
const arms = values.arms ? (values.arms.split(",") as Arm[]) : plan.arms;
const unknown = arms.filter((arm) => !ARMS.includes(arm));
if (unknown.length > 0)
  throw new Error(`--arms names ${unknown.join(", ")}: expected some of ${ARMS.join(", ")}`);
const seconds = values.seconds ? Number(values.seconds) : plan.seconds;

interface Line extends Measured {
  arm: Arm;
  skus: number;
  clients: number;
}

const lines: Line[] = [];
const dataDir = await mkdtemp(path.join(os.tmpdir(), "shop-bench-"));
// Default durability; only the limits that several arms at once need are raised, and what is laid out of the log is kept.
const postgres = await ensurePostgres({
  dataDir,
  settings: { max_prepared_transactions: "200", max_wal_size: "4GB", min_wal_size: "1GB" },
});
try {
  await layOutLog(postgres.url);
  if (!values.json)
    console.log(
      `${os.cpus().length} × ${os.cpus()[0]?.model.trim()}, Node ${process.version}, PostgreSQL ${postgres.version}`,
    );
  for (const skus of values.skus.split(",").map(Number)) {
    for (const arm of arms) {
      const clients = values.clients ? values.clients.split(",").map(Number) : plan.clients(arm);
      const job = { server: postgres.url, skus, clients, seconds, probeSeconds: plan.probeSeconds };
      const report = (atClients: number, measured: Measured) => {
        const line = { arm, skus, clients: atClients, ...measured };
        lines.push(line);
        if (values.json) console.log(JSON.stringify(line));
        else
          console.log(
            `${arm.padEnd(12)} ${String(skus).padStart(5)} SKUs ${String(atClients).padStart(4)} clients ` +
              `${String(measured.perSecond).padStart(6)}/s  p50 ${measured.p50Ms} ms  p95 ${measured.p95Ms} ms  p99 ${measured.p99Ms} ms` +
              (measured.failed > 0 ? `  FAILED ${measured.failed}` : ""),
          );
      };
      if (arm === "rest") await runRestArm(job, report);
      else await runCheckoutArm(arm, job, report);
    }
    if (!values.json) printRatios(skus);
  }
} finally {
  await postgres.stop();
  await rm(dataDir, { recursive: true });
}

function printRatios(skus: number): void {
  const best = (arm: Arm) =>
    Math.max(0, ...lines.filter((l) => l.arm === arm && l.skus === skus).map((l) => l.perSecond));
  const at1 = (arm: Arm) =>
    lines.find((l) => l.arm === arm && l.skus === skus && l.clients === 1)?.perSecond ?? 0;
  const ratio = (a: number, b: number) => (a > 0 && b > 0 ? (a / b).toFixed(2) : "-");
  console.log(
    `${skus} SKUs, best of each: 2pc/local ${ratio(best("2pc"), best("local"))}, ` +
      `2pc/local-1stmt ${ratio(best("2pc"), best("local-1stmt"))}, rest/local ${ratio(best("rest"), best("local"))}; ` +
      `at 1 client 2pc/local ${ratio(at1("2pc"), at1("local"))}`,
  );
}
