/**
 * One worker as the supervisor sees it: the process, its state, and what it prints, prefixed with its node's name.
 * Gateways are forked by node:cluster, so that they share one port; all others are plain child processes.
 */
import { type ChildProcess, fork } from "node:child_process";
import cluster from "node:cluster";
import { once } from "node:events";
import { setPriority } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServiceName } from "../../config/index.ts";
import { STOP_MS_MAX } from "../../lib/stop.ts";
import { COMPILE_CACHE } from "../compile-cache.ts";
import type { WorkerMessage } from "./worker.ts";

const PROGRAM = new URL("./worker.ts", import.meta.url).pathname;

export type WorkerState = "starting" | "ready" | "draining" | "ended";

export interface WorkerOptions {
  nodeID: string;
  services: readonly ServiceName[];
  env: Readonly<Record<string, string | undefined>>;
  print: (line: string) => void;
}

export class Worker {
  readonly nodeID: string;
  readonly services: readonly ServiceName[];
  readonly pid: number;
  /** Resolves when the process has ended, with how: its exit code or signal, and its own last words. */
  readonly ended: Promise<string>;
  state: WorkerState = "starting";
  /** True from the moment somebody wanted it to end. */
  wasStopped = false;
  readonly #process: ChildProcess;
  readonly #ready = Promise.withResolvers<void>();
  #reason = "";

  constructor({ nodeID, services, env, print }: WorkerOptions) {
    this.nodeID = nodeID;
    this.services = services;
    const workerEnv = { ...COMPILE_CACHE, ...env };
    this.#process = services.includes("api") ? forkGateway(workerEnv) : forkNode(workerEnv);
    this.pid = this.#process.pid as number;
    this.#ready.promise.catch(() => undefined);
    for (const stream of [this.#process.stdout, this.#process.stderr])
      if (stream) createInterface({ input: stream }).on("line", (line) => print(`${nodeID} | ${line}`));
    this.#process.on("message", (message: WorkerMessage) => {
      if (message.kind === "failed") this.#reason = message.reason;
      if (message.kind !== "ready" || this.state !== "starting") return;
      this.state = "ready";
      this.#ready.resolve();
    });
    // Where there is no room for a process, its end is the error: no exit follows.
    const end = once(this.#process, "exit").then(
      ([code, signal]) => `${signal ?? `exit code ${code}`}${this.#reason && `: ${this.#reason}`}`,
      (err: Error) => err.message,
    );
    this.ended = end.then((how) => {
      this.state = "ended";
      this.#ready.reject(new Error(`${nodeID} ended with ${how}`));
      return how;
    });
  }

  /** Rejects where the process ends first. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Drains it and waits for its end; false where it had to be killed. */
  async stop(): Promise<boolean> {
    this.wasStopped = true;
    if (this.state === "ended") return true;
    this.state = "draining";
    this.#process.kill("SIGTERM");
    const late = new AbortController();
    const tooLate = sleep(STOP_MS_MAX, "late" as const, { signal: late.signal }).catch(() => undefined);
    const isLate = (await Promise.race([this.ended, tooLate])) === "late";
    late.abort();
    // A paused process hears this one, and only this one.
    if (isLate) this.#process.kill("SIGKILL");
    await this.ended;
    return !isLate;
  }
}

/** Gateways go before all others on a machine that they share: they must refuse quickly while the others are busy. */
const NODE_NICENESS = 10;

function forkNode(env: WorkerOptions["env"]): ChildProcess {
  const node = fork(PROGRAM, { env: env as NodeJS.ProcessEnv, execArgv: [], silent: true });
  if (node.pid !== undefined) setPriority(node.pid, NODE_NICENESS);
  return node;
}

// Gateways accept for themselves. The default hands each connection over by message, one at a time, and loses those that
// it hands to a gateway that is paused or dying; a busy one takes 50 ms for each, so callers queue to be refused.
cluster.schedulingPolicy = cluster.SCHED_NONE;

function forkGateway(env: WorkerOptions["env"]): ChildProcess {
  // The settings are the process's; each fork takes what they are at that moment.
  cluster.setupPrimary({ exec: PROGRAM, execArgv: [], args: [], silent: true });
  return cluster.fork(env).process;
}
