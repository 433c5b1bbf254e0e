/** Prepares fresh databases for one arm, runs it in a process of its own, and audits what ours left behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import pg from "pg";
import { databaseName } from "../config/database.ts";
import { DATABASES, type DatabaseName } from "../config/index.ts";
import { createDatabaseIfMissing, migrate } from "../mixins/migrations.ts";
import { makeLocalTables } from "./arms/local.ts";
import { stockUp } from "./catalogue.ts";
import type { CheckoutArm, WorkerJob } from "./job.ts";
import type { Measured } from "./load.ts";
import { loadRest } from "./rest-load.ts";

export interface ArmJob {
  server: string;
  skus: number;
  clients: number[];
  seconds: number;
  probeSeconds: number;
}

type Report = (clients: number, measured: Measured) => void;

export async function runCheckoutArm(arm: CheckoutArm, job: ArmJob, report: Report): Promise<void> {
  const ours = arm === "2pc" || arm === "2pc-batch1";
  const worker: WorkerJob = { ...job, arm, products: [], url: urlOf(job.server, "bench_local") };
  if (ours) worker.products = await makeShopDatabases(job);
  else if (arm === "xa") Object.assign(worker, await makeXaDatabases(job));
  else {
    await recreate(job.server, "bench_local");
    worker.products = await makeLocalTables(worker.url, job.skus);
  }
  await settleDisk(job.server);
  const child = spawn(process.execPath, ["bench/worker.ts", JSON.stringify(worker)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      DATABASE_URL: job.server,
      GRPC_PORT: "0",
      LOGLEVEL: "warn",
      NODE_ENV: "production",
      ...(arm === "2pc-batch1" ? { BATCH_MAX: "1" } : {}),
    },
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const { clients, ...measured } = JSON.parse(line) as Measured & { clients: number };
    // What the shop logs comes the same way, and is no measurement.
    if (clients === undefined) process.stderr.write(`${line}\n`);
    else report(clients, measured);
  }
  await exited(child, arm);
  if (ours) await auditShop(job.server, arm);
}

/** The whole shop exactly as npm start runs it, loaded from here: another process. */
export async function runRestArm(job: ArmJob, report: Report): Promise<void> {
  const products = await makeShopDatabases(job);
  const shop = spawn(process.execPath, ["scripts/start.ts"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      DATABASE_URL: job.server,
      PORT: "0",
      GRPC_PORT: "0",
      LOGLEVEL: "warn",
      NODE_ENV: "development",
    },
  });
  try {
    const url = await shopUrl(shop);
    await settleDisk(job.server);
    await loadRest(url, products, job, report);
  } finally {
    shop.kill("SIGTERM");
    await exited(shop, "rest");
  }
  await auditShop(job.server, "rest");
}

const urlOf = (server: string, database: string): string =>
  Object.assign(new URL(server), { pathname: `/${database}` }).href;

async function onServer<Result>(url: string, work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const recreate = (server: string, database: string): Promise<void> =>
  onServer(server, async (client) => {
    await client.query(`drop database if exists ${database} with (force)`);
    await client.query(`create database ${database}`);
  });

/** Of files of the log: more than one arm writes. */
const LOG_BYTES = 1_000_000_000;

/**
 * Makes the files of the log that the arms will write, because making one, 16 MB of zeros, stops every writer for a
 * moment. A server that has been in use writes into files of old; one that is made for a benchmark has none, and arms that
 * write more would pay more for it.
 */
export const layOutLog = (server: string): Promise<void> =>
  onServer(server, async (client) => {
    const messageBytes = 1_000_000;
    await client.query({
      text: `select count(pg_logical_emit_message(false, 'filling', repeat('x', $1::int))) from generate_series(1, $2::int)`,
      values: [messageBytes, LOG_BYTES / messageBytes],
    });
    // Afterwards all of it is old.
    await settleDisk(server);
  });

/** What one arm left to be flushed must not slow the next one. */
const settleDisk = (server: string): Promise<unknown> =>
  onServer(server, (client) => client.query("checkpoint"));

async function makeShopDatabases({ server, skus }: ArmJob): Promise<string[]> {
  for (const name of DATABASES)
    await onServer(server, (client) =>
      client.query(`drop database if exists ${databaseName(name)} with (force)`),
    );
  const url = urlOf(server, databaseName("product"));
  await createDatabaseIfMissing(url);
  await migrate(url, new URL("../services/product/migrations/", import.meta.url));
  return onServer(url, (client) => stockUp(client, skus, "public"));
}

async function makeXaDatabases(job: ArmJob): Promise<Pick<WorkerJob, "products" | "xaUrls">> {
  const urls = Object.fromEntries(
    ["product", "order", "payment", "register"].map((name) => [name, urlOf(job.server, `bench_xa_${name}`)]),
  );
  let products: string[] = [];
  for (const [name, url] of Object.entries(urls)) {
    await recreate(job.server, `bench_xa_${name}`);
    if (name === "register")
      await onServer(url, (client) =>
        client.query("create table decisions (tx_id uuid primary key, outcome text not null)"),
      );
    else {
      const made = await makeLocalTables(url, name === "product" ? job.skus : 0);
      if (name === "product") products = made;
    }
  }
  return { products, xaUrls: urls as WorkerJob["xaUrls"] & object };
}

async function auditShop(server: string, arm: string): Promise<void> {
  const urls = Object.fromEntries(
    DATABASES.map((name) => [name, urlOf(server, databaseName(name))]),
  ) as Record<DatabaseName, string>;
  const { audit } = await import("../scripts/audit/audit.ts");
  const report = await audit(urls);
  if (!report.ok) throw new Error(`the audit after ${arm} found violations: ${JSON.stringify(report)}`);
}

/** The URL in the banner of npm start; the banner is the sign that it is ready. */
async function shopUrl(shop: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: shop.stdout as NodeJS.ReadableStream })) {
    const url = /API\s+(http:\/\/\S+)/.exec(line)?.[1];
    if (url) {
      shop.stdout?.resume();
      return url;
    }
  }
  throw new Error("npm start ended before it was ready");
}

async function exited(child: ChildProcess, arm: string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  if (child.exitCode !== 0)
    throw new Error(`the process of ${arm} ended with ${child.exitCode ?? child.signalCode}`);
}
