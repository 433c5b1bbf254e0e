/**
 * The replicas of one part of the shop: so many workers that host the same services. A worker that ends by itself is
 * replaced after a back-off; one that keeps ending is reported and tried less and less often, never spun. A rolling
 * restart starts the new worker first, and stops the old one when the new one is ready.
 */
import type { ServiceName } from "../../config/index.ts";
import type { Worker, WorkerOptions } from "./worker.process.ts";

/** The first restart comes at once; the tenth has waited long enough for a database to come back. */
const BACK_OFF_MS_MIN = 100;
const BACK_OFF_MS_MAX = 30_000;
/** A worker that was ready for this long did not end of what it starts with. */
const STABLE_MS = 30_000;
/** In a rolling restart. Longer than a migration of the new version waits for a table before it says so. */
const READY_MS_MAX = 120_000;
/** Crashes in a row after which it is no accident. */
const CRASHES_MAX = 4;

export interface GroupOptions {
  name: string;
  services: readonly ServiceName[];
  replicas: number;
  open(options: Pick<WorkerOptions, "nodeID" | "services">): Worker;
  say: (line: string) => void;
}

export class Group {
  readonly name: string;
  readonly services: readonly ServiceName[];
  readonly replicas: number;
  readonly workers = new Set<Worker>();
  restarts = 0;
  /** Crashes since a worker was last ready for a while, and the last one's reason. */
  crashesInARow = 0;
  lastCrash: string | undefined;
  readonly #options: GroupOptions;
  #sequence = 0;
  #stopping = false;
  /** In a rolling restart, the one whose successor is there already. */
  #leaving: Worker | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: GroupOptions) {
    this.name = options.name;
    this.services = options.services;
    this.replicas = options.replicas;
    this.#options = options;
  }

  /** True while replicas are missing because their successors keep crashing. */
  get isFailing(): boolean {
    const ready = [...this.workers].filter(({ state }) => state === "ready");
    return this.crashesInARow >= CRASHES_MAX && ready.length < this.replicas;
  }

  /** Resolves when all replicas are ready; rejects where they keep crashing before they ever were. */
  async start(): Promise<void> {
    await Promise.all(Array.from({ length: this.replicas }, () => this.#bring(CRASHES_MAX)));
  }

  /** One replica after the other. `say` is told what happens. False where one had to be killed. */
  async restart(say: (line: string) => void): Promise<boolean> {
    let allClean = true;
    for (const old of [...this.workers]) {
      if (this.#stopping) throw new Error("the cluster is stopping");
      // Ended meanwhile by itself: its successor is as new as any.
      if (!this.workers.has(old)) continue;
      const startedAt = performance.now();
      const worker = this.#open();
      this.#leaving = old;
      try {
        await this.#readyInTime(worker);
      } catch (err) {
        this.workers.delete(worker);
        this.#leaving = undefined;
        const goesOn = this.workers.has(old);
        if (!goesOn) void this.#replace(old);
        throw new Error(
          `${(err as Error).message}; ${old.nodeID} ${goesOn ? "goes on" : "has ended meanwhile, and is replaced"}`,
          { cause: err },
        );
      }
      say(`${worker.nodeID} is ready after ${seconds(startedAt)}, draining ${old.nodeID}`);
      const drainedAt = performance.now();
      const clean = await old.stop();
      allClean &&= clean;
      say(`${old.nodeID} ${clean ? "has ended" : "was killed"} after ${seconds(drainedAt)}`);
    }
    return allClean;
  }

  /** Rejects, with the worker ended, where it is not ready in time. */
  async #readyInTime(worker: Worker): Promise<void> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      void worker.stop().catch(() => undefined); // its end is waited for below
    }, READY_MS_MAX);
    try {
      await worker.ready;
    } catch (err) {
      if (!isLate) throw err;
      throw new Error(`${worker.nodeID} was not ready after ${READY_MS_MAX / 1_000} s and was ended`, {
        cause: err,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async stop(): Promise<boolean> {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const clean = await Promise.all([...this.workers].map((worker) => worker.stop()));
    return clean.every((each) => each);
  }

  #open(): Worker {
    const nodeID = `${this.name}-${++this.#sequence}`;
    const worker = this.#options.open({ nodeID, services: this.services });
    this.workers.add(worker);
    worker.ready.then(
      () => void this.#watch(worker, performance.now()),
      () => undefined,
    );
    return worker;
  }

  /** Replaces a worker that was ready and ended by itself. */
  async #watch(worker: Worker, readyAt: number): Promise<void> {
    const how = await worker.ended;
    this.workers.delete(worker);
    if (worker.wasStopped) return;
    if (performance.now() - readyAt > STABLE_MS) this.crashesInARow = 0;
    this.restarts++;
    this.#noteCrash(`${worker.nodeID} ended with ${how}`);
    await this.#pause();
    await this.#replace(worker);
  }

  /** Nothing where a rolling restart was at it already: there would be one too many from then on. */
  async #replace(worker: Worker): Promise<void> {
    const staying = [...this.workers].filter((each) => !each.wasStopped && each !== this.#leaving);
    if (staying.length >= this.replicas) return;
    const successor = await this.#bring(Number.POSITIVE_INFINITY).catch(() => undefined);
    if (successor) this.#options.say(`${successor.nodeID} is ready in the place of ${worker.nodeID}`);
  }

  /** Starts workers until one is ready. Throws at a stop, and after too many crashes in a row. */
  async #bring(crashesMax: number): Promise<Worker> {
    for (;;) {
      if (this.#stopping) throw new Error("the cluster is stopping");
      let worker: Worker | undefined;
      try {
        worker = this.#open();
        await worker.ready;
        return worker;
      } catch (err) {
        if (worker) this.workers.delete(worker);
        if (this.#stopping || worker?.wasStopped) throw err;
        this.#noteCrash((err as Error).message);
        if (this.crashesInARow >= crashesMax) throw err;
        await this.#pause();
      }
    }
  }

  #noteCrash(reason: string): void {
    this.lastCrash = reason;
    this.crashesInARow++;
    const keeps = this.crashesInARow >= CRASHES_MAX;
    this.#options.say(
      keeps
        ? `${this.name} KEEPS CRASHING, ${this.crashesInARow} times in a row: ${reason}`
        : `${reason}; starting another`,
    );
  }

  #pause(): Promise<void> {
    const ceiling = Math.min(BACK_OFF_MS_MIN * 2 ** this.crashesInARow, BACK_OFF_MS_MAX);
    return new Promise((resolve) => {
      const timer = setTimeout(
        () => {
          this.#timers.delete(timer);
          resolve();
        },
        ceiling * (0.5 + Math.random() / 2),
      );
      this.#timers.add(timer);
    });
  }
}

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;
