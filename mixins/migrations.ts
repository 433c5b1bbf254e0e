/**
 * Brings a database to where a version of the shop needs it: made where it is missing and that is allowed, and migrated
 * forward under a lock, so that any number of nodes may start at once.
 */
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Knex } from "knex";
import pg from "pg";
import { databaseUrlOf, databaseVariable } from "../config/database.ts";
import type { DatabaseName } from "../config/index.ts";
import { sqlState } from "./database.errors.ts";

const databaseOf = (url: string): string => decodeURIComponent(new URL(url).pathname.slice(1));

/**
 * Brings a service's own database to where this version needs it, and answers where it is. Throws with the service and
 * the variable where it cannot be reached or created.
 */
export async function prepareDatabase(
  service: DatabaseName,
  folder: URL,
  say?: (line: string) => void,
): Promise<string> {
  const url = databaseUrlOf(service);
  const variable = databaseVariable(service);
  await createDatabaseIfMissing(url).catch((cause) => {
    // Not the whole URL: it may hold a password.
    throw new Error(
      `the database of ${service} cannot be used: it was looked for as ${databaseOf(url)} at ${new URL(url).host}, ` +
        `by ${variable}; start that server, or correct ${variable}`,
      { cause },
    );
  });
  await migrate(url, folder, say);
  return url;
}

/** Creates the database that `url` names where the server has none and the role may; otherwise says what to do. */
export async function createDatabaseIfMissing(url: string): Promise<void> {
  const name = databaseOf(url);
  const probe = new pg.Client({ connectionString: url });
  try {
    await probe.connect();
    return;
  } catch (err) {
    if (sqlState(err) !== "3D000") throw err; // 3D000: the database does not exist
  } finally {
    await probe.end().catch(() => undefined);
  }
  const maintenance = new URL(url);
  maintenance.pathname = "/postgres";
  const client = new pg.Client({ connectionString: maintenance.href });
  await client.connect();
  try {
    await client.query(`create database ${client.escapeIdentifier(name)}`);
  } catch (err) {
    // 42P04, 23505: another node created it at the same moment.
    if (!["42P04", "23505"].includes(sqlState(err) ?? ""))
      throw new Error(
        `database ${name} does not exist and cannot be created: ${(err as Error).message}; create it by hand`,
        {
          cause: err,
        },
      );
  } finally {
    await client.end();
  }
}

/**
 * A statement that waits for a table has all who come after it wait, too, so a migration does not wait longer than they
 * may; and longer than deadlock_timeout (1 s), after which PostgreSQL ends an autovacuum that is in the way.
 */
const TABLE_MS_MAX = 2_000;
/** For those who waited meanwhile. */
const TABLE_AGAIN_MS = 2_000;
/** A minute and a half: longer than an audit or a dump of a shop holds a table, mostly. */
const TABLE_TRIES_MAX = 22;

/**
 * Runs the folder's SQL files that have not run yet, in order of name: all of them or none. Where somebody holds a table
 * it lets go and tries again, and `say` hears of it; it throws where that takes too long.
 */
export async function migrate(
  url: string,
  folder: URL,
  say: (line: string) => void = () => undefined,
): Promise<void> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
  const lock = new pg.Client({ connectionString: url });
  // Idle most of the time. Where it is lost, so is what the runner does, which says so.
  lock.on("error", () => undefined);
  await lock.connect();
  let runner: Knex | undefined;
  try {
    // The usual start finds nothing to do. It then waits for nobody's migration, and does not load what migrates.
    if (await isMigrated(lock, files)) return;
    const { default: knex } = await import("knex");
    // It would print what is thrown below.
    const log = { warn: () => undefined, error: () => undefined };
    runner = knex({ client: "pg", connection: url, pool: { min: 0, max: 2 }, log });
    // The advisory lock ends with its connection, so a runner killed half-way blocks nobody. Whoever holds it knows
    // that knex's own lock row, which a kill leaves behind, belongs to nobody.
    await lock.query("select pg_advisory_lock(4711)");
    const migrationSource = {
      getMigrations: async () => files,
      getMigrationName: (name: string) => name,
      getMigration: async (name: string) => {
        const text = await readFile(new URL(name, folder), "utf8");
        const up = async (tx: Knex) => {
          await tx.raw(`set local lock_timeout = ${TABLE_MS_MAX}`);
          await tx.raw(text);
        };
        return { up, down: async () => undefined };
      },
    };
    await runner.migrate.forceFreeMigrationsLock({ migrationSource });
    for (let tries = 1; ; tries++) {
      try {
        await runner.migrate.latest({ migrationSource });
        return;
      } catch (err) {
        const isHeld = ["55P03", "40P01"].includes(sqlState(err) ?? ""); // lock_not_available, deadlock_detected
        if (!isHeld || tries === TABLE_TRIES_MAX) throw isHeld ? heldTooLong(url, err as Error) : err;
        if (tries === 1) say(`a migration waits for a table of ${databaseOf(url)} that somebody holds`);
        await sleep(TABLE_AGAIN_MS);
      }
    }
  } finally {
    await lock.end();
    await runner?.destroy();
  }
}

const heldTooLong = (url: string, cause: Error): Error =>
  new Error(
    `a migration of ${databaseOf(url)} was kept from a table ${TABLE_TRIES_MAX} times (${cause.message}); ` +
      "end who holds it (select pid, query, xact_start from pg_stat_activity order by xact_start) and start again",
    { cause },
  );

/** A name is there from the moment on at which all that its file does is committed. */
async function isMigrated(client: pg.Client, files: readonly string[]): Promise<boolean> {
  const known = await client.query("select to_regclass('knex_migrations') is not null as known");
  if (!known.rows[0].known) return false;
  const { rows } = await client.query<{ name: string }>("select name from knex_migrations");
  const done = new Set(rows.map(({ name }) => name));
  return files.every((name) => done.has(name));
}
