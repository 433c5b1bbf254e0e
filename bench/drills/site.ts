/**
 * Where one drill takes place: a throw-away directory, and the processes that were started in it. close() ends those,
 * each by its own pid or process group, and the PostgreSQL servers of the drill's data directories, which outlive a
 * shop that was killed. Nothing else is ever ended, and nothing is started after close() or an interruption.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, closeSync, openSync, readFileSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, readdir, realpath, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findPostmaster, isAlive, type Postmaster } from "../../scripts/postgres.record.ts";

export const ROOT = path.resolve(import.meta.dirname, "../..");

// What is left after this is not worth waiting for in a directory that goes.
const STOP_MS_MAX = 15_000;

export interface RunOptions {
  cwd?: string;
  /** On top of the cleaned environment. */
  env?: Record<string, string>;
  /** stdout is piped to the caller; else it joins stderr in the log. */
  piped?: boolean;
  /** With a channel for messages, as for a fork. */
  ipc?: boolean;
}

export class Site {
  readonly directory: string;
  /** Rejects when the drill is interrupted. */
  readonly interrupted: Promise<never>;
  readonly #name: string;
  readonly #interruption = new AbortController();
  readonly #children: ChildProcess[] = [];
  readonly #dataDirs = new Set<string>();
  readonly #steps: (() => Promise<unknown>)[] = [];

  private constructor(name: string, directory: string) {
    this.#name = name;
    this.directory = directory;
    this.interrupted = new Promise((_, reject) => {
      const { signal } = this.#interruption;
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    // Without a listener of its own, an interruption during the clean-up would count as unhandled.
    this.interrupted.catch(() => undefined);
  }

  static async open(name: string): Promise<Site> {
    const directory = await realpath(await mkdtemp(path.join(os.tmpdir(), `shop-drill-${name}-`)));
    // PostgreSQL does not run as root: the user it runs as must be able to pass.
    await chmod(directory, 0o755);
    return new Site(name, directory);
  }

  say(line: string): void {
    process.stderr.write(`${this.#name}: ${line}\n`);
    this.log("drill", line);
  }

  interrupt(reason: Error): void {
    this.#interruption.abort(reason);
  }

  async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#interruption.signal });
  }

  path(name: string): string {
    return path.join(this.directory, name);
  }

  /** A directory whose PostgreSQL the drill's programs start. */
  dataDir(name: string): string {
    const dataDir = this.path(name);
    this.#dataDirs.add(dataDir);
    return dataDir;
  }

  /** Starts a program in a process group of its own; what it says goes to `log`.log in the directory. */
  run(command: string, args: string[], log: string, { cwd = ROOT, env, piped, ipc }: RunOptions = {}) {
    this.#interruption.signal.throwIfAborted();
    const fd = openSync(this.path(`${log}.log`), "a");
    const child = spawn(command, args, {
      cwd,
      env: { ...cleanEnvironment(), ...env },
      stdio: ["ignore", piped ? "pipe" : fd, fd, ...(ipc ? ["ipc" as const] : [])],
      detached: true,
    });
    closeSync(fd);
    this.#children.push(child);
    return child;
  }

  /** Adds a line to a log of the directory. */
  log(log: string, line: string): void {
    appendFileSync(this.path(`${log}.log`), `${line}\n`);
  }

  /** Has `step` run at close(), the last one first, before the directory goes. */
  onClose(step: () => Promise<unknown>): void {
    this.#steps.push(step);
  }

  /** The end of a log, for an error message. */
  tailOf(log: string): string {
    return readFileSync(this.path(`${log}.log`), "utf8")
      .trim()
      .slice(-2_000);
  }

  /** Copies the logs to where they outlive the directory: those of the last drill of this name. Resolves to where. */
  async keepLogs(): Promise<string> {
    const kept = path.join(os.tmpdir(), `shop-drill-${this.#name}.logs`);
    await rm(kept, { recursive: true, force: true });
    await mkdir(kept);
    for (const file of await readdir(this.directory))
      if (file.endsWith(".log")) await copyFile(this.path(file), path.join(kept, file));
    return kept;
  }

  async close(): Promise<void> {
    this.interrupt(new Error("the drill is over"));
    for (const step of this.#steps.splice(0).reverse()) await step();
    await Promise.all(this.#children.map(endGroup));
    for (const dataDir of this.#dataDirs) {
      const postmaster = findPostmaster(path.join(dataDir, "postgres"));
      if (postmaster) await endPostmaster(postmaster);
    }
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

export const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

/** The exit code, or the name of the signal. Rejects where the program could not be started. */
export async function endOf(child: ChildProcess): Promise<number | string> {
  if (!hasEnded(child) || child.pid === undefined) await once(child, "exit");
  return child.signalCode ?? (child.exitCode as number);
}

/** npm and what it started, together. A group whose leader has been waited for may be somebody else's by now. */
async function endGroup(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, "exit");
  const tooLate = new AbortController();
  signalGroup(child, "SIGTERM");
  await Promise.race([
    ended,
    sleep(STOP_MS_MAX, undefined, { signal: tooLate.signal }).catch(() => undefined),
  ]);
  tooLate.abort();
  if (hasEnded(child)) return;
  signalGroup(child, "SIGKILL");
  await ended;
}

function signalGroup(child: ChildProcess, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(-(child.pid as number), signal);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== "ESRCH") throw err;
  }
}

/** SIGQUIT: it stops at once, and recovers from its log when it is started again. */
export async function endPostmaster(postmaster: Postmaster): Promise<void> {
  const isRunning = () => isAlive({ ...postmaster, handle: "" });
  for (const signal of ["SIGQUIT", "SIGKILL"] as const) {
    if (!isRunning()) return;
    process.kill(postmaster.pid, signal);
    for (const until = performance.now() + STOP_MS_MAX; isRunning() && performance.now() < until; )
      await sleep(10);
  }
  if (isRunning()) throw new Error(`PostgreSQL (pid ${postmaster.pid}) does not end`);
}

/** Without whatever would lead a drill to somebody's own shop, or make it run like a test or below npm. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const ours =
    /^(DATABASE_|ADMIN_|SERVICES$|(GRPC_)?PORT$|DATA_DIR$|NODE_ENV$|NODEID$|MAILBOX_|KAFKA_|EVENT_|SMTP_|MAIL_|BATCH_MAX$|NAMESPACE$|TRANSPORTER$|METRICS_PORT$|OTEL_|TEST_|JEST_|npm_|INIT_CWD$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)));
}
