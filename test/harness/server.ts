/**
 * One PostgreSQL for the whole test run, in a throw-away directory, with one migrated template database per service
 * that has migrations. Test files clone their own databases from the templates (databases.ts). It runs in Jest's
 * parent process; the address reaches the workers through their environment.
 */
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { DATABASES, type DatabaseName } from "../../config/index.ts";
import { STOP_SIGNALS } from "../../lib/stop.ts";
import { createDatabaseIfMissing, migrate } from "../../mixins/migrations.ts";
import { ensurePostgres, type Postgres } from "../../scripts/postgres.ts";
import { DIRECTORY_VARIABLE, SERVER_VARIABLE, templateName, urlOfDatabase } from "./databases.ts";
import { shareKafka } from "./kafka.share.ts";

let running: { postgres: Postgres; dataDir: string; stopKafka: () => Promise<void> } | undefined;

export async function startServer(): Promise<void> {
  const dataDir = await mkdtemp(path.join(tmpdir(), "shop-test-"));
  // The data is thrown away, so nothing of it needs to survive a power cut.
  const settings = { fsync: "off", synchronous_commit: "off", full_page_writes: "off", max_wal_size: "2GB" };
  const postgres = await ensurePostgres({ dataDir, settings });
  running = { postgres, dataDir, stopKafka: await shareKafka(dataDir) };
  for (const signal of STOP_SIGNALS) process.once(signal, () => abandon(signal));
  process.env[SERVER_VARIABLE] = postgres.url;
  process.env[DIRECTORY_VARIABLE] = dataDir;
  try {
    await Promise.all(DATABASES.map((name) => makeTemplate(postgres.url, name)));
  } catch (err) {
    await stopServer();
    throw err;
  }
}

export async function stopServer(): Promise<void> {
  if (!running) return;
  const { postgres, dataDir, stopKafka } = running;
  running = undefined;
  await Promise.all([stopKafka(), postgres.stop()]);
  await rm(dataDir, { recursive: true });
}

async function makeTemplate(server: string, name: DatabaseName): Promise<void> {
  const folder = name === "transaction-manager" ? "actors" : "services";
  const migrations = new URL(`../../${folder}/${name}/migrations/`, import.meta.url);
  if (!existsSync(migrations) || !readdirSync(migrations).some((file) => file.endsWith(".sql"))) return;
  const url = urlOfDatabase(server, templateName(name));
  try {
    await createDatabaseIfMissing(url);
    await migrate(url, migrations);
  } catch (cause) {
    throw new Error(`the migrations of ${name} fail: ${(cause as Error).message}`, { cause });
  }
}

/** Jest does not tear down after a signal: stop the server, then die of the signal. */
function abandon(signal: NodeJS.Signals): void {
  stopServer()
    .catch((err) => console.error("the test server was not stopped:", err))
    .finally(() => process.kill(process.pid, signal));
}
