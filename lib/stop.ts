/**
 * The steps of a node's stop: how long each may take, and the waiting for one. A step that takes longer than anybody
 * expects says what it waits for; one that takes too long is left, so that no step can keep the others from their turn.
 * What is left undone is what a kill would have left: rows that recovery and inquiry take up. STOP_MS_MAX is what a
 * supervisor must grant; npm run k8s:check holds the grace periods to it.
 */
import { setFlagsFromString } from "node:v8";

/** What tells a process to drain and end: Ctrl-C, a supervisor, and a terminal that is closed. */
export const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type StopSignal = (typeof STOP_SIGNALS)[number];

export const STEPS_MS_MAX = {
  /** Others hear that this node may not be called any more. One that does not answer is dead or paused, and calls nobody. */
  leave: 2_000,
  /** Requests and calls that had begun. The shop answers an order within 5 s. */
  calls: 8_000,
  /** Decisions and commits that a transaction manager drives. */
  manager: 4_000,
  /** What is being sent to the mail server, and its results. It begins with the first, and ends after these three. */
  mail: 18_000,
  /** The group is left, or the relay's lease, so that others go on at once. */
  kafka: 3_000,
  /** A service's loops and mailboxes. */
  actors: 3_000,
  /** Its connections to PostgreSQL. */
  database: 1_000,
  /** The farewell to NATS, and the last probes and scrapes. */
  transport: 2_000,
  /** Spans that have not been sent. */
  traces: 1_000,
} as const;

/** What this process has left undone: its end is not a clean one. */
export const left: string[] = [];

const SPARE_MS = 1_000;

const { leave, calls, manager, ...inARow } = STEPS_MS_MAX;

/** One service after the other could not take longer; most are stopped side by side. */
export const STOP_MS_MAX = Object.values<number>(inARow).reduce((sum, ms) => sum + ms, SPARE_MS);

const QUIET_MS = 2_000;

interface Logger {
  warn(...args: unknown[]): void;
}

/**
 * Resolves when `work` has ended, or its time is over. Rejects with what `work` rejects with in its time. `waitsFor` is
 * asked when there is something to say: "the batch of commit:order".
 */
export async function stopStep(
  step: keyof typeof STEPS_MS_MAX,
  logger: Logger,
  work: Promise<unknown> | undefined,
  waitsFor: () => string = () => step,
): Promise<void> {
  const startedAt = performance.now();
  const over = Promise.withResolvers<void>();
  const say = (what: string): void =>
    logger.warn(`stopping: after ${seconds(performance.now() - startedAt)} ${what} ${waitsFor()}`);
  const timers = [
    setTimeout(() => {
      say("goes on without");
      left.push(waitsFor());
      over.resolve();
    }, STEPS_MS_MAX[step]),
  ];
  if (STEPS_MS_MAX[step] > QUIET_MS) timers.push(setTimeout(() => say("waits for"), QUIET_MS));
  try {
    await Promise.race([work, over.promise]);
  } finally {
    for (const timer of timers) clearTimeout(timer);
  }
}

/** Whoever reads our output may go away (npm start | head, a closed terminal); what runs goes on, or stops, all the same. */
export function outliveTerminal(streams: NodeJS.EventEmitter[] = [process.stdout, process.stderr]): void {
  for (const stream of streams)
    stream.on("error", (err: NodeJS.ErrnoException) => {
      if (err.code !== "EPIPE" && err.code !== "EIO") throw err;
    });
}

/**
 * Has V8 begin no more compilation in the background. Called when a stop begins, by whoever will call process.exit: that
 * waits for the compilers' threads, and such a thread may wait for a garbage collection, which an exit does not do any
 * more (nodejs/node#64274). The process would hang until it is killed. What is compiled stays, and the rest is interpreted.
 */
export function stopCompilers(): void {
  for (const compiler of ["sparkplug", "maglev", "turbofan"]) setFlagsFromString(`--no-${compiler}`);
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
