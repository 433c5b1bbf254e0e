/**
 * Gives a service its own PostgreSQL database as `this.db`: created where allowed, migrated forward under a lock,
 * checked for the durability that the commit protocol stands on, drained when the service stops. It holds no SQL of
 * any service: repositories do, as functions `(db, args)`.
 */
import type { Context, ServiceSchema } from "moleculer";
import pg from "pg";
import { config, type DatabaseName } from "../config/index.ts";
import { stopStep } from "../lib/stop.ts";
import { beforeAnyQuery, isBroken, unavailable, unavailableOnce } from "./database.errors.ts";
import { measure, type Reading } from "./measures.ts";
import { prepareDatabase } from "./migrations.ts";

// Amounts, counts and versions stay below 2^53 (checked at the edge), so bigint columns are read as numbers.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/** Named statements are prepared once per connection; the name must be unique to its text. */
export interface Statement {
  name?: string;
  text: string;
  values?: unknown[];
}

/** What repositories take: a pool, or one connection inside a transaction. */
export interface Queryable {
  query<Row>(statement: Statement): Promise<{ rows: Row[]; rowCount: number | null }>;
}

export interface Database extends Queryable {
  /** Runs `work` on one connection between BEGIN and COMMIT (READ COMMITTED); any throw rolls back. */
  transaction<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result>;
  /** How its connections are used right now. */
  pool(): { busy: number; idle: number; waiting: number };
  close(): Promise<void>;
}

/** What every connection of a service is set to. */
const SESSION: readonly (readonly [string, string])[] = [
  // The commit protocol's second read must see what a rival committed a moment ago: never repeatable read.
  ["default_transaction_isolation", "read committed"],
  // These two free the locks of a node that is paused inside a batch (SIGSTOP, a long collection).
  ["idle_in_transaction_session_timeout", "5000"],
  ["transaction_timeout", "30000"],
  // A backend whose client has given up ends, instead of working on beside the one that took its place.
  ["client_connection_check_interval", "1000"],
  // Every statement here finds its rows by key, for a batch. A plan is made once per connection, perhaps while the
  // table was empty and a scan of it cheap; it must still be right at ten million rows, so only plans by index and
  // nested loop are taken. Measured: without these lines batches slow down with the size of the tables. An index scan
  // also meets the rows of a batch in key order, in which all lock them; a bitmap scan meets them where they lie.
  ["plan_cache_mode", "force_generic_plan"],
  ["enable_seqscan", "off"],
  ["enable_bitmapscan", "off"],
  ["enable_hashjoin", "off"],
  ["enable_mergejoin", "off"],
  ["jit", "off"],
];

/** A client that says of what fails while it connects that nothing can have been done. The pool calls it with `done`. */
class Client extends pg.Client {
  override connect(): Promise<pg.Client>;
  override connect(done: (err: Error) => void): void;
  override connect(done?: (err: Error) => void): Promise<pg.Client> | undefined {
    if (!done) return super.connect();
    super.connect((err: Error) => done(err && beforeAnyQuery(err)));
    return undefined;
  }
}

/**
 * How long a statement may be without its answer, before its connection is closed. One whose other end has vanished, as
 * a machine does that a standby stands in for, is never closed from there, and the system gives it up after a quarter of
 * an hour. Nobody waits for longer than this for anything (requestTimeout), so neither does a statement for a lock.
 */
const ANSWER_MS_MAX = 10_000;

export function openDatabase(
  url: string,
  poolMax: number = config.databasePoolMax,
  answerMsMax = ANSWER_MS_MAX,
): Database {
  const pool = new pg.Pool({
    connectionString: url,
    Client,
    max: poolMax,
    connectionTimeoutMillis: 5_000,
    query_timeout: answerMsMax,
    options: SESSION.map(([name, value]) => `-c ${name}=${value.replaceAll(" ", "\\ ")}`).join(" "),
  });
  // A connection that breaks fails the query that is running, and is replaced at the next use. Its "error" event says
  // no more than that, and without a listener, on idle connections and on lent ones, it would end the process.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  return {
    query: (statement) => pool.query(bound(statement)) as never,
    async transaction(work) {
      const client = await pool.connect();
      let broken: Error | undefined;
      try {
        await client.query("begin");
        const tx: Queryable = { query: (statement) => client.query(bound(statement)) as never };
        const result = await work(tx);
        // After an error that `work` swallowed, the server answers COMMIT with ROLLBACK and no error: nothing is durable.
        const { command } = await client.query("commit");
        if (command !== "COMMIT") throw new Error(`COMMIT was answered with ${command}: nothing was stored`);
        return result;
      } catch (err) {
        // One that is silent would not answer that either.
        if (isBroken(err)) broken = err as Error;
        else
          await client.query("rollback").catch((rollbackError: Error) => {
            broken = rollbackError;
          });
        throw err;
      } finally {
        client.release(broken);
      }
    },
    pool: () => ({
      busy: pool.totalCount - pool.idleCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
    }),
    close: () => pool.end(),
  };
}

/**
 * The statement with its arrays as literals. pg makes them, too, and escapes and quotes each element for it, and
 * most are ids that need neither.
 */
const bound = ({ values, ...statement }: Statement): Statement =>
  values ? { ...statement, values: values.map(literalOf) } : statement;

const literalOf = (value: unknown): unknown =>
  Array.isArray(value) && !value.some(isObject) ? `{${Array.from(value, elementOf)}}` : value;

/** Dates, buffers, arrays in arrays: pg knows how. */
const isObject = (value: unknown): boolean => typeof value === "object" && value !== null;

/** Ids, hashes, numbers and money: nothing that a literal would read as more than itself, nor as null. */
const PLAIN = /^(?!null$)[\w.-]+$/i;

function elementOf(element: unknown): string {
  if (element === null || element === undefined) return "NULL";
  const text = String(element);
  return PLAIN.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** The mixin. `migrations` is the folder of `0001_*.sql` files of the service. */
export function databaseMixin(service: DatabaseName, migrations: URL): Partial<ServiceSchema> {
  return {
    // Whatever an action was about: callers hear whether it may be tried again, and breakers and repeats go by it.
    hooks: {
      error: {
        "*"(ctx: Context, err: Error) {
          throw ctx.action?.idempotent ? unavailable(err) : unavailableOnce(err);
        },
      },
    },

    created() {
      this.db = undefined;
      measure(this, () => poolReadings(this.db));
    },
    async started() {
      this.db = openDatabase(await prepareDatabase(service, migrations, (line) => this.logger.warn(line)));
      if (config.environment !== "test") await refuseLossyServer(this.db, service);
    },
    async stopped() {
      const { db, logger } = this as unknown as { db?: Database; logger: { warn(): void } };
      if (!db) return;
      const waitsFor = () => `${db.pool().busy} connections of ${service} that are in use`;
      await stopStep("database", logger, db.close(), waitsFor);
    },
  };
}

function poolReadings(db: Database | undefined): Reading[] {
  if (!db) return [];
  const { busy, idle, waiting } = db.pool();
  return [
    ["shop_pool_connections", busy, { state: "busy" }],
    ["shop_pool_connections", idle, { state: "idle" }],
    ["shop_pool_waiting_queries", waiting],
  ];
}

/** A yes vote is a promise that outlives a power cut: refuse a server that is set to forget. */
async function refuseLossyServer(db: Database, service: string): Promise<void> {
  const { rows } = await db.query<{ name: string; setting: string }>({
    text: "select name, setting from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit')",
  });
  const lossy = rows.filter((row) => row.setting === "off");
  if (lossy.length > 0)
    throw new Error(
      `the database server of ${service} has ${lossy.map((row) => `${row.name} = off`).join(", ")}: ` +
        "an acknowledged order could be lost; switch it on",
    );
}
