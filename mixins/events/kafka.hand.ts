/**
 * What a member of a Kafka group has in hand. The library fetches again when all that it fetched has been worked off, so
 * a partition that takes long is parked: its work goes on, and others are fetched and heartbeats sent meanwhile. Offsets
 * move after what is before them is delivered; work of a membership that has ended moves none, and its pauses end.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { NoLongerOurs } from "./kafka.errors.ts";

export interface IncomingMessage {
  topic: string;
  partition: number;
  offset: number;
  value: string;
}

/**
 * Takes messages of one partition, in order. Answers how many of them, from the first on, are done with: their offset
 * moves, and the others come again. `pause` waits, and rejects where they are no longer this member's to take.
 */
export type Deliver = (messages: IncomingMessage[], pause: (ms: number) => Promise<void>) => Promise<number>;

/** As the library hands it over. */
export interface Fetched {
  batch: {
    topic: string;
    partition: number;
    messages: readonly { offset: string; value: Buffer | null }[];
  };
  /** Everything up to here is done with. */
  resolveOffset(offset: string): void;
  /** Tells Kafka. */
  commit(): Promise<void>;
  /** Fetches no more of this partition. Answers what takes that back. */
  park(): () => void;
  isRunning(): boolean;
}

/** A batch is done in a fraction of it; others wait so long for one that is not. */
const PATIENCE_MS = 250;
const DELIVERED_MAX = 250;

interface HandOptions {
  deliver: Deliver;
  /** Parked work has failed, of which the library hears nothing. */
  onFailure(err: unknown): void;
}

export class Hand {
  readonly #options: HandOptions;
  /** Of the membership as it is; another one takes its place whenever the group changes. */
  #ours = new AbortController();
  readonly #parked = new Set<Promise<void>>();

  constructor(options: HandOptions) {
    this.#options = options;
  }

  /** Resolves when the messages are done with, or parked. */
  async take(fetched: Fetched): Promise<void> {
    const state = { isParked: false };
    const work = this.#work(fetched, state, this.#ours.signal);
    const over = new AbortController();
    const patience = sleep(PATIENCE_MS, true, { signal: over.signal }).catch(() => false);
    const isSlow = await Promise.race([work, patience]).finally(() => over.abort());
    if (!isSlow) return;
    state.isParked = true;
    const resume = fetched.park();
    const parked: Promise<void> = work.catch(this.#options.onFailure).finally(() => {
      this.#parked.delete(parked);
      resume();
    });
    this.#parked.add(parked);
  }

  /** The group changes: what is in hand comes again, to whom it then belongs. Resolves when nothing is in hand. */
  async letGo(): Promise<void> {
    this.#ours.abort(new NoLongerOurs("the group is changing"));
    this.#ours = new AbortController();
    await Promise.all(this.#parked);
  }

  async #work(fetched: Fetched, state: { isParked: boolean }, signal: AbortSignal): Promise<void> {
    const { topic, partition, messages } = fetched.batch;
    const stillOurs = () => {
      signal.throwIfAborted();
      if (!fetched.isRunning()) throw new NoLongerOurs("the group is changing");
    };
    const pause = async (ms: number): Promise<void> => {
      await sleep(ms, undefined, { signal }).catch(() => undefined);
      stillOurs();
    };
    try {
      for (let from = 0; from < messages.length; from += DELIVERED_MAX) {
        const piece = messages.slice(from, from + DELIVERED_MAX);
        stillOurs();
        const incoming = piece.map(({ offset, value }) => ({
          ...{ topic, partition, offset: Number(offset) },
          value: value?.toString() ?? "",
        }));
        const count = await this.#options.deliver(incoming, pause);
        stillOurs();
        const last = piece[count - 1];
        if (last) fetched.resolveOffset(last.offset);
        // What Kafka does not hear now it hears with the next.
        if (state.isParked) await fetched.commit().catch(() => undefined);
        // The rest comes again, with what came meanwhile.
        if (count < piece.length) return;
      }
    } catch (err) {
      // What was delivered before keeps its offset.
      if (!(err instanceof NoLongerOurs)) throw err;
    }
  }
}
