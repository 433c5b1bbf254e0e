/**
 * The embedded PostgreSQL: a real server on 127.0.0.1 with its data in DATA_DIR/postgres, made at the first start.
 * It runs in a session of its own and writes to a file, so neither Ctrl-C nor the death of whoever started it ends
 * it; the next caller adopts it. Everyone who uses it registers in DATA_DIR/postgres.json, and the last one alive to
 * call `stop()` stops it: an audit beside a running shop leaves the server to the shop.
 *
 * It ends no process but the postmaster whose command line names exactly this data directory.
 */
import type { ChildProcess } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { access, constants, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { embeddedAddressFile } from "../config/database.ts";
import { withFileLock } from "./file-lock.ts";
import { findPostgresProgram, type PostgresProgram } from "./postgres.program.ts";
import {
  disarmStalePid,
  findPostmaster,
  isAlive,
  type PostgresRecord,
  type Postmaster,
  readRecord,
  thisProcess,
  writeRecord,
} from "./postgres.record.ts";

export interface Postgres {
  /** `postgres://postgres:...@127.0.0.1:PORT`, without a database. */
  readonly url: string;
  readonly version: string;
  /** True where the server was running already. */
  readonly adopted: boolean;
  readonly pid: number;
  /** By which this process is registered as a user of it. */
  readonly handle: string;
  /** Stops the server (open transactions are rolled back) unless another living process uses it. May be repeated. */
  stop(): Promise<void>;
}

export interface PostgresOptions {
  dataDir: string;
  /** Server settings on top of ours; they count only where the server is not running yet. */
  settings?: Record<string, string>;
  /** One of this process that has ended. It stays registered as the same user; no database is made for it, nor a new
   *  password: whoever uses it could not know. */
  existing?: Postgres;
  /** Told what takes long, one line at a time. */
  log?: (line: string) => void;
}

const SETTINGS = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  // Eight services of eight connections each, several workers on one machine, and room for an audit.
  max_connections: "200",
  shared_buffers: "256MB",
};

// A healthy server answers in milliseconds; one that is paused or wedged does not answer at all.
const ANSWER_MS_MAX = 10_000;
// Recovery after a crash replays at most a few checkpoints' worth of log: seconds, on a very slow disk minutes.
const START_MS_MAX = 150_000;

/** Everything that is known while the lock is held. */
interface Cluster {
  dataDir: string;
  data: string;
  program: PostgresProgram;
  settings: Record<string, string>;
  existing: boolean;
  log: (line: string) => void;
}

/**
 * Makes sure that the server of `dataDir` runs, and registers this process as a user of it. Safe to call from several
 * processes at once. Throws an Error that says what to do where the server cannot be made or started.
 */
export async function ensurePostgres(options: PostgresOptions): Promise<Postgres> {
  try {
    await mkdir(options.dataDir, { recursive: true });
    await access(options.dataDir, constants.W_OK);
  } catch (cause) {
    throw new Error(
      `the data cannot be kept in DATA_DIR=${options.dataDir}: name a directory that this user may write`,
      { cause },
    );
  }
  const dataDir = realpathSync(options.dataDir);
  const data = path.join(dataDir, "postgres");
  return withFileLock(lockFile(dataDir), async () => {
    const cluster: Cluster = {
      dataDir,
      data,
      program: await findPostgresProgram(dataDir, data),
      settings: { ...SETTINGS, ...options.settings },
      existing: options.existing !== undefined,
      log: options.log ?? (() => undefined),
    };
    let record = await readRecord(dataDir);
    if (cluster.existing && !(existsSync(data) && record))
      throw new Error(
        `${existsSync(data) ? embeddedAddressFile(dataDir) : data} has gone; put it back, or stop the shop`,
      );
    if (existsSync(data)) refuseOtherMajor(cluster);
    else record = await create(cluster);
    const running = await adopt(cluster, record);
    const { postmaster, url } = running ?? (await start(cluster, record));
    const user = thisProcess(options.existing?.handle ?? randomUUID());
    const others = (record?.users ?? []).filter((other) => other.handle !== user.handle && isAlive(other));
    const users = [...others, user];
    const { version } = cluster.program;
    await writeRecord(dataDir, { url, version, pid: postmaster.pid, users });
    let stopped: Promise<void> | undefined;
    return {
      url,
      version,
      adopted: running !== undefined,
      pid: postmaster.pid,
      handle: user.handle,
      stop: () => {
        stopped ??= leave(dataDir, data, user.handle);
        return stopped;
      },
    };
  });
}

const lockFile = (dataDir: string): string => path.join(dataDir, "postgres.lock");

async function leave(dataDir: string, data: string, handle: string): Promise<void> {
  await withFileLock(lockFile(dataDir), async () => {
    const record = await readRecord(dataDir);
    if (!record)
      throw new Error(`${dataDir}/postgres.json has gone or was edited; the server is left running`);
    const users = record.users.filter((user) => user.handle !== handle && isAlive(user));
    if (users.length > 0) return writeRecord(dataDir, { ...record, users });
    const postmaster = findPostmaster(data);
    if (postmaster) await end(postmaster);
    await writeRecord(dataDir, { url: record.url, version: record.version, users });
  });
}

// ---- the data directory

/** initdb into a sibling that takes its name when it is complete: a kill in the middle leaves nothing half-made. */
async function create({ dataDir, data, program, settings, log }: Cluster): Promise<PostgresRecord> {
  log("creating the database (once, a few seconds) ...");
  for (const name of readdirSync(dataDir))
    if (name.startsWith("postgres.draft-")) await rm(path.join(dataDir, name), { recursive: true });
  const draft = path.join(dataDir, `postgres.draft-${process.pid}`);
  const passwordFile = path.join(draft, "password");
  const cluster = path.join(draft, "cluster");
  const password = randomBytes(24).toString("hex");
  await mkdir(cluster, { recursive: true, mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  program.handOver(draft);
  const { ok, output } = program.run("initdb", [
    ...["--pgdata", cluster, "--username", "postgres", "--pwfile", passwordFile, "--auth", "scram-sha-256"],
    // Sorting by code point does not depend on the machine's libraries, so an upgrade cannot corrupt an index.
    ...["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"],
    ...(settings.fsync === "off" ? ["--no-sync"] : []),
  ]);
  if (!ok)
    throw new Error(`PostgreSQL's initdb failed in ${dataDir}: ${output}\nSet DATA_DIR, or DATABASE_URL.`);
  const record = { url: urlOf(password, await freePort()), version: program.version, users: [] };
  // Before the rename: a cluster whose password nobody knows must never have the final name.
  await writeRecord(dataDir, record);
  await rename(cluster, data);
  await rm(draft, { recursive: true });
  return record;
}

function refuseOtherMajor({ data, program }: Cluster): void {
  const file = path.join(data, "PG_VERSION");
  if (!existsSync(file))
    throw new Error(`${data} is not a PostgreSQL data directory (no PG_VERSION); remove it or set DATA_DIR`);
  const theirs = readFileSync(file, "utf8").trim();
  const ours = program.version.split(".")[0];
  if (theirs !== ours)
    throw new Error(
      `${data} was made by PostgreSQL ${theirs}, and the installed one is ${program.version}: ` +
        `dump it with PostgreSQL ${theirs} (pg_dumpall) and load it into a new one, ` +
        "or set DATA_DIR to a new directory, or DATABASE_URL to a server of that version",
    );
}

const urlOf = (password: string, port: number): string => `postgres://postgres:${password}@127.0.0.1:${port}`;

function freePort(wanted = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", (err: NodeJS.ErrnoException) =>
      err.code === "EADDRINUSE" && wanted !== 0 ? resolve(freePort()) : reject(err),
    );
    probe.listen(wanted, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}

// ---- a server that is running already

interface Running {
  postmaster: Postmaster;
  url: string;
}

/** The server where it runs and answers to our password; one that runs and does not answer is stopped. */
async function adopt({ data, log }: Cluster, record?: PostgresRecord): Promise<Running | undefined> {
  let postmaster = findPostmaster(data);
  if (!postmaster) return undefined;
  const givesUpAt = performance.now() + START_MS_MAX;
  while (postmaster && !["ready", "standby"].includes(postmaster.status)) {
    if (performance.now() > givesUpAt) break;
    await sleep(50);
    postmaster = findPostmaster(data);
  }
  if (!postmaster) return undefined;
  const url = record && urlOf(new URL(record.url).password, postmaster.port);
  const answer = url ? await ask(url, data) : "refused";
  if (url && answer === "ours") return { postmaster, url };
  if (answer === "busy")
    throw new Error(
      `PostgreSQL in ${data} has no connection left; try again when it has, or lower DATABASE_POOL_MAX`,
    );
  log(`PostgreSQL (pid ${postmaster.pid}) is running and its answer is: ${answer}; restarting it ...`);
  await end(postmaster);
  return undefined;
}

/** `ours`, `refused` (another password), `busy` (no connection left), or what it said instead. */
async function ask(url: string, data: string): Promise<string> {
  const client = new pg.Client({
    connectionString: `${url}/postgres`,
    connectionTimeoutMillis: ANSWER_MS_MAX,
    query_timeout: ANSWER_MS_MAX,
  });
  // A connection that breaks while it waits is reported by the call that waits.
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>("show data_directory");
    const theirs = rows[0]?.data_directory;
    return theirs === data ? "ours" : `I serve ${theirs}`;
  } catch (err) {
    const { code = "", message } = err as { code?: string; message: string };
    return { "28P01": "refused", "53300": "busy" }[code] ?? message;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Fast shutdown, which rolls back what is open; harder where that is not heard. `postmaster` was found to be ours. */
async function end(postmaster: Postmaster): Promise<void> {
  for (const [signal, waitMsMax] of [
    ["SIGINT", 30_000],
    ["SIGQUIT", 10_000],
    ["SIGKILL", 10_000],
  ] as const) {
    if (!isRunning(postmaster)) return;
    process.kill(postmaster.pid, signal);
    // A paused server hears the signal when it continues.
    if (isRunning(postmaster)) process.kill(postmaster.pid, "SIGCONT");
    const givesUpAt = performance.now() + waitMsMax;
    while (isRunning(postmaster) && performance.now() < givesUpAt) await sleep(20);
  }
  if (isRunning(postmaster))
    throw new Error(`PostgreSQL (pid ${postmaster.pid}) does not end, even by SIGKILL`);
}

const isRunning = ({ pid, birth }: Postmaster): boolean => isAlive({ pid, birth, handle: "" });

// ---- a server that is not running

async function start(cluster: Cluster, record?: PostgresRecord): Promise<Running> {
  const { dataDir, data, program } = cluster;
  let password = record && new URL(record.url).password;
  let port = await freePort(record ? Number(new URL(record.url).port) : 0);
  let said = "";
  // Each repetition has a cause that is gone the next time, or comes a few times at most.
  for (let attempt = 1; attempt <= 8; attempt++) {
    await disarmStalePid(data);
    password ??= resetPassword(cluster);
    const url = urlOf(password, port);
    const users = record?.users ?? [];
    // The password first: whoever kills us now leaves a server that the next start can adopt.
    await writeRecord(dataDir, { url, version: program.version, users });
    const outcome = await launch(cluster, port);
    if (typeof outcome !== "string") {
      const answer = await ask(url, data);
      if (answer === "ours") return { postmaster: outcome, url };
      said = `it started, and answered: ${answer}`;
      await end(outcome);
      if (answer !== "refused") break;
      password = undefined;
      continue;
    }
    said = outcome;
    if (/could not bind|Address already in use|could not create any TCP/.test(said)) port = await freePort();
    // Backends of a postmaster that was killed need a moment to notice it.
    else if (/shared memory block|is another postmaster/i.test(said)) await sleep(1_000);
    else break;
  }
  throw new Error(
    `PostgreSQL does not start in ${data}: ${said}\nSee ${logFile(dataDir)}; set DATA_DIR to begin afresh elsewhere, or DATABASE_URL.`,
  );
}

const logFile = (dataDir: string): string => path.join(dataDir, "postgres.log");

/** Starts the server and waits until it takes connections; what it wrote to its log where it ends instead. */
async function launch({ dataDir, data, program, settings, log }: Cluster, port: number) {
  const args = ["-D", data, "-c", `port=${port}`];
  for (const [name, value] of Object.entries(settings)) args.push("-c", `${name}=${value}`);
  const logFd = openSync(logFile(dataDir), "a");
  const logStart = fstatSync(logFd).size;
  const child: ChildProcess = program.launch(args, logFd);
  closeSync(logFd);
  let ended: string | undefined;
  child.once("error", (err) => {
    ended = err.message;
  });
  child.once("exit", (code, signal) => {
    ended = `it exited with ${signal ?? code}`;
  });
  child.unref();
  const startedAt = performance.now();
  let sayAfterMs = 5_000;
  for (;;) {
    await sleep(20);
    if (ended !== undefined) {
      const written = readFileSync(logFile(dataDir)).subarray(logStart).toString().trim();
      return `${ended}; ${written.slice(-2_000)}`;
    }
    const postmaster = findPostmaster(data);
    if (postmaster?.pid === child.pid && postmaster?.status === "ready") return postmaster;
    const waitedMs = performance.now() - startedAt;
    if (waitedMs > START_MS_MAX) {
      if (postmaster?.pid === child.pid) await end(postmaster as Postmaster);
      return `it was not ready after ${START_MS_MAX / 1000} s`;
    }
    if (waitedMs > sayAfterMs) {
      log(`waiting for PostgreSQL, for ${Math.round(waitedMs / 1000)} s now ...`);
      sayAfterMs += 5_000;
    }
  }
}

/** The cluster is ours by its directory, so a lost postgres.json costs a new password and no data. */
function resetPassword({ data, program, existing, log }: Cluster): string {
  if (existing) throw new Error(`the server in ${data} has another password than before; stop the shop`);
  log("setting a new database password, because postgres.json is lost ...");
  const password = randomBytes(24).toString("hex");
  const statement = `alter role postgres password '${password}'\n`;
  const { ok, output } = program.run("postgres", ["--single", "-D", data, "postgres"], statement);
  if (!ok || /ERROR|FATAL/.test(output))
    throw new Error(`the password of the database in ${data} cannot be set: ${output}`);
  return password;
}
