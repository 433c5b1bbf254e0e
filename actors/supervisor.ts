/**
 * Runs an actor's mailboxes and background loops, one-for-one: each fails and restarts by itself. A loop that throws
 * runs again after a back-off; one that keeps failing, or a mailbox whose batches keep failing, makes the node not
 * ready instead of spinning. Stopping ends the loops, then drains the mailboxes in the order they were made.
 */
import { Mailbox, type MailboxOptions, type MailboxStats } from "./mailbox.ts";

/** Failures in a row after which an actor counts as failing: five tells an outage from a hiccup. */
const FAILURES_MAX = 5;
const BACK_OFF_MS_MAX = 5_000;

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
  timer: NodeJS.Timeout | undefined;
  running: Promise<void>;
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
  readonly #mailboxes: Mailbox<never, unknown>[] = [];
  readonly #loops: Loop[] = [];
  #stopping = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  mailbox<Message, Reply>(options: MailboxOptions<Message, Reply>): Mailbox<Message, Reply> {
    const mailbox = new Mailbox(options);
    this.#mailboxes.push(mailbox as unknown as Mailbox<never, unknown>);
    return mailbox;
  }

  /** Starts a loop whose first tick comes at once. Returns a function that brings the next tick forward. */
  loop(options: LoopOptions): () => void {
    const loop: Loop = {
      options,
      timer: undefined,
      running: Promise.resolve(),
      failuresInARow: 0,
      lastError: undefined,
    };
    this.#loops.push(loop);
    this.#plan(loop, 0);
    return () => {
      // A tick that runs, or waits out a back-off, is not hurried.
      if (loop.timer && loop.failuresInARow === 0) this.#plan(loop, 0);
    };
  }

  states(): ActorState[] {
    return [
      ...this.#mailboxes.map((mailbox) => ({
        name: mailbox.stats.name,
        kind: "mailbox" as const,
        failing: mailbox.stats.failuresInARow >= FAILURES_MAX,
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

  async stop(): Promise<void> {
    this.#stopping = true;
    for (const loop of this.#loops) {
      clearTimeout(loop.timer);
      await loop.running;
    }
    for (const mailbox of this.#mailboxes) await mailbox.drain();
  }

  #plan(loop: Loop, delayMs: number): void {
    if (this.#stopping) return;
    clearTimeout(loop.timer);
    loop.timer = setTimeout(() => {
      loop.timer = undefined;
      loop.running = this.#tick(loop);
    }, delayMs);
  }

  async #tick(loop: Loop): Promise<void> {
    const { name, intervalMs, tick } = loop.options;
    let pauseMs = intervalMs * (0.8 + 0.4 * Math.random());
    try {
      if (await tick()) pauseMs = 0;
      loop.failuresInARow = 0;
      loop.lastError = undefined;
    } catch (err) {
      loop.failuresInARow++;
      loop.lastError = (err as Error).message;
      pauseMs = Math.min(intervalMs * 2 ** loop.failuresInARow, BACK_OFF_MS_MAX) * (0.5 + Math.random() / 2);
      this.#logger.warn(
        `${name} failed ${loop.failuresInARow} time(s) in a row, next try in ${Math.round(pauseMs)} ms:`,
        err,
      );
    }
    this.#plan(loop, pauseMs);
  }
}
