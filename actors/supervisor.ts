/**
 * Runs an actor's mailboxes and background loops, one-for-one: each fails and restarts by itself. A loop that throws
 * runs again after a back-off; one that keeps failing, or a mailbox whose batches keep failing, makes the node not
 * ready instead of spinning. Stopping ends the loops, then drains the mailboxes in the order they were made; what does
 * not end in time is named and left.
 */
import { stopStep } from "../lib/stop.ts";
import { type Clock, realClock } from "./clock.ts";
import { Mailbox, type MailboxOptions, type MailboxStats } from "./mailbox.ts";

/** Failures in a row after which an actor counts as failing: five tells an outage from a hiccup. */
const FAILURES_MAX = 5;
const BACK_OFF_MS_MAX = 5_000;
/** A mailbox is well only by a batch that succeeds, and a node that is not ready may be sent none: it is given another
 *  chance after this. */
const FAILING_MS = 10_000;

export interface LoopOptions {
  name: string;
  /** Pause between two ticks; jittered by ±20 % so that replicas do not tick together. */
  intervalMs: number;
  /** One round of work. Answer true where more is waiting: the next tick then follows at once. */
  tick: () => Promise<boolean>;
}

interface Logger {
  warn(...args: unknown[]): void;
}

interface Loop {
  readonly options: LoopOptions;
  /** Takes the planned tick back; undefined while one runs. */
  cancel: (() => void) | undefined;
  running: Promise<void>;
  isRunning: boolean;
  failuresInARow: number;
  lastError: string | undefined;
}

export interface ActorState {
  name: string;
  kind: "mailbox" | "loop";
  failing: boolean;
  lastError?: string | undefined;
  stats?: Readonly<MailboxStats>;
}

export class Supervisor {
  readonly #logger: Logger;
  readonly clock: Clock;
  readonly #mailboxes: Mailbox<never, unknown>[] = [];
  readonly #loops: Loop[] = [];
  #stopping: Promise<void> | undefined;

  constructor(logger: Logger, clock: Clock = realClock) {
    this.#logger = logger;
    this.clock = clock;
  }

  mailbox<Message, Reply>(options: MailboxOptions<Message, Reply>): Mailbox<Message, Reply> {
    const mailbox = new Mailbox({ clock: this.clock, ...options });
    this.#mailboxes.push(mailbox as unknown as Mailbox<never, unknown>);
    return mailbox;
  }

  /** Starts a loop whose first tick comes at once. Returns a function that brings the next tick forward. */
  loop(options: LoopOptions): () => void {
    const loop: Loop = {
      options,
      cancel: undefined,
      running: Promise.resolve(),
      isRunning: false,
      failuresInARow: 0,
      lastError: undefined,
    };
    this.#loops.push(loop);
    this.#plan(loop, 0);
    return () => {
      // A tick that runs, or waits out a back-off, is not hurried.
      if (loop.cancel && loop.failuresInARow === 0) this.#plan(loop, 0);
    };
  }

  states(): ActorState[] {
    return [
      ...this.#mailboxes.map((mailbox) => ({
        name: mailbox.stats.name,
        kind: "mailbox" as const,
        failing: mailbox.hasFailed(FAILURES_MAX, FAILING_MS),
        stats: mailbox.stats,
      })),
      ...this.#loops.map((loop) => ({
        name: loop.options.name,
        kind: "loop" as const,
        failing: loop.failuresInARow >= FAILURES_MAX,
        lastError: loop.lastError,
      })),
    ];
  }

  /** May be asked more than once, and waits once. */
  stop(): Promise<void> {
    this.#stopping ??= stopStep("actors", this.#logger, this.#end(), () => this.#busy().join(", "));
    return this.#stopping;
  }

  async #end(): Promise<void> {
    for (const loop of this.#loops) loop.cancel?.();
    await Promise.all(this.#loops.map(({ running }) => running));
    for (const mailbox of this.#mailboxes) await mailbox.drain();
  }

  #busy(): string[] {
    return [
      ...this.#loops.filter(({ isRunning }) => isRunning).map(({ options }) => `the loop ${options.name}`),
      ...this.#mailboxes
        .filter(({ stats }) => stats.depth + stats.inFlight > 0)
        .map(({ stats: { name, depth, inFlight } }) => `${name} (${inFlight} batches, ${depth} messages)`),
    ];
  }

  #plan(loop: Loop, delayMs: number): void {
    if (this.#stopping) return;
    loop.cancel?.();
    loop.cancel = this.clock.after(delayMs, () => {
      loop.cancel = undefined;
      loop.running = this.#tick(loop);
    });
  }

  async #tick(loop: Loop): Promise<void> {
    const { name, intervalMs, tick } = loop.options;
    let pauseMs = intervalMs * (0.8 + 0.4 * this.clock.random());
    loop.isRunning = true;
    try {
      if (await tick()) pauseMs = 0;
      loop.failuresInARow = 0;
      loop.lastError = undefined;
    } catch (err) {
      loop.failuresInARow++;
      loop.lastError = (err as Error).message;
      pauseMs =
        Math.min(intervalMs * 2 ** loop.failuresInARow, BACK_OFF_MS_MAX) * (0.5 + this.clock.random() / 2);
      this.#logger.warn(
        `${name} failed ${loop.failuresInARow} time(s) in a row, next try in ${Math.round(pauseMs)} ms:`,
        err,
      );
    } finally {
      loop.isRunning = false;
    }
    this.#plan(loop, pauseMs);
  }
}
