/**
 * The mailbox: a bounded queue in front of a behaviour that works on batches. It is group commit for messages: while
 * one batch is on disk, messages collect, and the next batch takes what is there. No timers, so a lone message waits
 * for nothing.
 *
 * Contract. `ask` resolves with the behaviour's reply to that message, or rejects with
 * - `overloaded` when the mailbox is full: nothing was done, nothing is durable;
 * - `deadline_exceeded` when the message expired before work on it began: nothing was done;
 * - `unavailable` when the mailbox is closed;
 * - the behaviour's own error otherwise: the outcome is then unknown to the mailbox.
 * The behaviour receives 1 to batchMax messages and must answer as many replies, in order; an Error in that list
 * rejects its message alone. When it throws something that `isolates` holds for, the batch is bisected until the
 * culprit fails alone; so a behaviour must be safe to repeat.
 */
import { ShopError } from "../lib/errors.ts";
import { type Clock, realClock } from "./clock.ts";

export interface MailboxOptions<Message, Reply> {
  name: string;
  behaviour: (batch: Message[]) => Promise<readonly (Reply | Error)[]>;
  /** Messages waiting at most; default 2,000. */
  capacity?: number;
  /** Messages per batch at most; default 256. */
  batchMax?: number;
  /** Bytes per batch at most, by `bytesOf`; one larger message still travels alone. Default: no limit. */
  batchBytesMax?: number;
  bytesOf?: (message: Message) => number;
  /** Batches worked on at once; default 1. */
  inFlightMax?: number;
  /**
   * Rest after a batch before the next begins, in milliseconds; default 0. For work that nobody waits for: fewer,
   * larger batches, and fewer fsyncs beside those that somebody does wait for.
   */
  restMs?: number;
  /** The behaviour asks another node: that its batches fail says nothing about this one. Default: false. */
  failsElsewhere?: boolean;
  /** True for errors that one message may have caused. Default: none, the whole batch fails. */
  isolates?: (err: unknown) => boolean;
  clock?: Clock;
}

export interface MailboxStats {
  name: string;
  depth: number;
  inFlight: number;
  messages: number;
  batches: number;
  batchLargest: number;
  overloaded: number;
  expired: number;
  failures: number;
  /** Failed batches since the last one that succeeded. */
  failuresInARow: number;
  waitMsTotal: number;
  workMsTotal: number;
}

/** Who waits for the replies to one message, or to several that it sent together. */
interface Sender<Reply> {
  answer(index: number, reply: Reply): void;
  fail(index: number, err: unknown): void;
}

/** One message, one promise. A class, because there is one per message: its methods are no closures. */
class Asker<Reply> implements Sender<Reply> {
  readonly #resolve: (reply: Reply) => void;
  readonly #reject: (err: unknown) => void;

  constructor(resolve: (reply: Reply) => void, reject: (err: unknown) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  answer(_index: number, reply: Reply): void {
    this.#resolve(reply);
  }

  fail(_index: number, err: unknown): void {
    this.#reject(err);
  }
}

interface Envelope<Message, Reply> {
  readonly message: Message;
  readonly arrivedAt: number;
  readonly expiresAt: number;
  readonly sender: Sender<Reply>;
  /** Which of its sender's messages this is. */
  readonly index: number;
}

export class Mailbox<Message, Reply> {
  readonly #options: Required<MailboxOptions<Message, Reply>>;
  readonly #stats: MailboxStats;
  #queue: Envelope<Message, Reply>[] = [];
  #startPending = false;
  #resting = false;
  #closed = false;
  #failedAt = 0;
  #onIdle: (() => void)[] = [];

  constructor(options: MailboxOptions<Message, Reply>) {
    this.#options = {
      capacity: 2_000,
      batchMax: 256,
      batchBytesMax: Number.POSITIVE_INFINITY,
      bytesOf: () => 0,
      inFlightMax: 1,
      restMs: 0,
      failsElsewhere: false,
      isolates: () => false,
      clock: realClock,
      ...options,
    };
    this.#stats = {
      name: options.name,
      depth: 0,
      inFlight: 0,
      messages: 0,
      batches: 0,
      batchLargest: 0,
      overloaded: 0,
      expired: 0,
      failures: 0,
      failuresInARow: 0,
      waitMsTotal: 0,
      workMsTotal: 0,
    };
  }

  /** Sends one message and waits for its reply. `budgetMs`: how long from now it may wait before work on it begins. */
  ask(message: Message, budgetMs = Number.POSITIVE_INFINITY): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#post(message, budgetMs, new Asker(resolve, reject), 0);
    });
  }

  /**
   * Sends messages that have come together, for one promise instead of one each, and waits for all replies. Where `ask`
   * would reject, the reply is what `failed` makes of the error.
   */
  askAll(
    messages: readonly Message[],
    failed: (err: unknown) => Reply,
    budgetMsOf: (message: Message) => number = () => Number.POSITIVE_INFINITY,
  ): Promise<Reply[]> {
    return new Promise((resolve) => {
      const replies = new Array<Reply>(messages.length);
      let missing = messages.length;
      const answer = (index: number, reply: Reply) => {
        replies[index] = reply;
        if (--missing === 0) resolve(replies);
      };
      const sender = { answer, fail: (index: number, err: unknown) => answer(index, failed(err)) };
      messages.forEach((message, index) => {
        this.#post(message, budgetMsOf(message), sender, index);
      });
      if (messages.length === 0) resolve(replies);
    });
  }

  /** True once so many batches in a row have failed here, and the last of them no longer ago than `withinMs`. */
  hasFailed(times: number, withinMs: number): boolean {
    if (this.#options.failsElsewhere || this.#stats.failuresInARow < times) return false;
    return this.#options.clock.now() - this.#failedAt < withinMs;
  }

  get stats(): Readonly<MailboxStats> {
    this.#stats.depth = this.#queue.length;
    return this.#stats;
  }

  /** Refuses new messages, works off those it holds, and resolves when the last batch is done. */
  async drain(): Promise<void> {
    this.#closed = true;
    if (this.#queue.length === 0 && this.#stats.inFlight === 0) return;
    await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  #post(message: Message, budgetMs: number, sender: Sender<Reply>, index: number): void {
    const { name, capacity, clock } = this.#options;
    if (this.#closed) {
      sender.fail(index, new ShopError("unavailable", `${name} is stopping; try again.`, { retryAfter: 1 }));
    } else if (this.#queue.length >= capacity) {
      this.#stats.overloaded++;
      sender.fail(
        index,
        new ShopError("overloaded", `${name} already holds ${capacity} messages; try again later.`, {
          retryAfter: 1,
        }),
      );
    } else {
      const arrivedAt = clock.now();
      this.#queue.push({ message, arrivedAt, expiresAt: arrivedAt + budgetMs, sender, index });
      this.#schedule();
    }
  }

  #schedule(): void {
    if (this.#startPending || this.#resting || this.#queue.length === 0) return;
    if (this.#stats.inFlight >= this.#options.inFlightMax) return;
    this.#startPending = true;
    // After the current turn of the event loop, so that what arrives together travels together.
    this.#options.clock.soon(() => {
      this.#startPending = false;
      void this.#work(this.#take());
    });
  }

  #rest(): void {
    if (this.#options.restMs === 0 || this.#closed) return;
    this.#resting = true;
    this.#options.clock.after(this.#options.restMs, () => {
      this.#resting = false;
      this.#schedule();
    });
  }

  /** The next batch: the oldest messages, less those that expired while they waited. */
  #take(): Envelope<Message, Reply>[] {
    const { batchMax, batchBytesMax, bytesOf, clock, name } = this.#options;
    const at = clock.now();
    const batch: Envelope<Message, Reply>[] = [];
    let bytes = 0;
    let taken = 0;
    for (const envelope of this.#queue) {
      if (batch.length === batchMax) break;
      if (envelope.expiresAt <= at) {
        this.#stats.expired++;
        envelope.sender.fail(
          envelope.index,
          new ShopError("deadline_exceeded", `the deadline passed while the message waited in ${name}.`),
        );
      } else {
        const size = bytesOf(envelope.message);
        if (batch.length > 0 && bytes + size > batchBytesMax) break;
        bytes += size;
        this.#stats.waitMsTotal += at - envelope.arrivedAt;
        batch.push(envelope);
      }
      taken++;
    }
    this.#queue.splice(0, taken);
    return batch;
  }

  async #work(batch: Envelope<Message, Reply>[]): Promise<void> {
    if (batch.length > 0) {
      const stats = this.#stats;
      const startedAt = this.#options.clock.now();
      stats.inFlight++;
      stats.batches++;
      stats.messages += batch.length;
      stats.batchLargest = Math.max(stats.batchLargest, batch.length);
      this.#schedule();
      await this.#deliver(batch);
      stats.inFlight--;
      stats.workMsTotal += this.#options.clock.now() - startedAt;
      this.#rest();
    }
    this.#schedule();
    if (this.#queue.length === 0 && this.#stats.inFlight === 0) {
      for (const resolve of this.#onIdle.splice(0)) resolve();
    }
  }

  async #deliver(batch: Envelope<Message, Reply>[]): Promise<void> {
    let replies: readonly (Reply | Error)[];
    try {
      replies = await this.#options.behaviour(batch.map((envelope) => envelope.message));
      if (replies.length !== batch.length)
        throw new Error(
          `${this.#options.name} answered ${replies.length} replies to ${batch.length} messages`,
        );
    } catch (err) {
      if (batch.length > 1 && this.#options.isolates(err)) {
        const middle = batch.length >> 1;
        await this.#deliver(batch.slice(0, middle));
        await this.#deliver(batch.slice(middle));
        return;
      }
      this.#stats.failures++;
      this.#stats.failuresInARow++;
      this.#failedAt = this.#options.clock.now();
      for (const { sender, index } of batch) sender.fail(index, err);
      return;
    }
    this.#stats.failuresInARow = 0;
    batch.forEach(({ sender, index }, i) => {
      const reply = replies[i] as Reply | Error;
      if (reply instanceof Error) sender.fail(index, reply);
      else sender.answer(index, reply);
    });
  }
}
