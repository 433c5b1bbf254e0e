/** Gives a test file databases of its own, cloned from the migrated templates in milliseconds. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { databaseName } from "../../config/database.ts";
import type { DatabaseName } from "../../config/index.ts";

/** Set by the global set-up: the URL of the test server. */
export const SERVER_VARIABLE = "TEST_POSTGRES_URL";

/** Set by the global set-up: a directory that goes with the run. */
export const DIRECTORY_VARIABLE = "TEST_DIRECTORY";

export const templateName = (name: DatabaseName): string => `template_${databaseName(name)}`;

export function urlOfDatabase(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}

export interface TestDatabases {
  /** The URL of the server, without a database. */
  readonly server: string;
  readonly urls: Readonly<Partial<Record<DatabaseName, string>>>;
  /** The URL of one of them. Throws where it was not cloned. */
  urlOf(name: DatabaseName): string;
  /** Drops them all. Throws where somebody left a connection open: that is a leak. */
  drop(): Promise<void>;
}

/** Clones the databases of `names`, by default of every service that has migrations. */
export async function cloneDatabases(names?: readonly DatabaseName[]): Promise<TestDatabases> {
  const server = process.env[SERVER_VARIABLE];
  if (!server) throw new Error(`${SERVER_VARIABLE} is not set: run the tests with npm test`);
  const run = randomUUID().slice(0, 8);
  const clones = new Map<DatabaseName, string>();
  await onServer(server, async (client) => {
    const { rows } = await client.query<{ datname: string }>(
      "select datname from pg_database where datname like 'template_shop_%'",
    );
    const templates = new Set(rows.map((row) => row.datname));
    for (const name of names ?? ALL_NAMES.filter((each) => templates.has(templateName(each)))) {
      if (!templates.has(templateName(name)))
        throw new Error(`service ${name} has no migrations, so there is no database to clone`);
      const database = `${databaseName(name)}_${run}`;
      await client.query(`create database ${database} template ${templateName(name)}`);
      clones.set(name, database);
    }
  });
  const urls = Object.fromEntries(
    [...clones].map(([name, database]) => [name, urlOfDatabase(server, database)]),
  ) as TestDatabases["urls"];
  return {
    server,
    urls,
    urlOf(name) {
      const url = urls[name];
      if (!url) throw new Error(`the database of ${name} was not cloned; pass it to cloneDatabases`);
      return url;
    },
    drop: () => dropDatabases(server, [...clones.values()]),
  };
}

const ALL_NAMES: readonly DatabaseName[] = [
  "auth",
  "user",
  "product",
  "order",
  "payment",
  "notification",
  "transaction-manager",
];

async function dropDatabases(server: string, databases: string[]): Promise<void> {
  const leaks: string[] = [];
  await onServer(server, async (client) => {
    for (const database of databases) {
      const open = await openConnections(client, database);
      if (open.length > 0) leaks.push(`${database}: ${open.join("; ")}`);
      await client.query(`drop database ${database} with (force)`);
    }
  });
  if (leaks.length > 0)
    throw new Error(`connections were left open; close what the test opened:\n  ${leaks.join("\n  ")}`);
}

/** The last statement of each connection that is still there after a second: a closing one needs a moment. */
async function openConnections(client: pg.Client, database: string): Promise<string[]> {
  const givesUpAt = performance.now() + 1_000;
  for (;;) {
    const { rows } = await client.query<{ query: string }>(
      "select left(query, 80) as query from pg_stat_activity where datname = $1 and backend_type = 'client backend'",
      [database],
    );
    if (rows.length === 0 || performance.now() > givesUpAt) return rows.map((row) => row.query);
    await client.query("select pg_sleep(0.02)");
  }
}

async function onServer(server: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: urlOfDatabase(server, "postgres") });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
