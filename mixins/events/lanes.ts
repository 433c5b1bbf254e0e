/**
 * Works off items that have an order by key: those of one key are a lane, one after the other; lanes go side by side, so
 * one that waits holds up no other. Each takes a turn for what needs the database: few at a time, what was tried least
 * before the rest, and the very first item that is not done never waits, because all others wait for it in the end. When
 * the time is over the result is how many are done from the first on, whatever became of those behind.
 */
/** Each turn takes a connection of the service's pool, which others need as well. */
const TURNS_AT_ONCE = 3;

interface Claim {
  /** The lower ones come first. */
  rank: number;
  index: number;
  /** Begins although no place is free. */
  isUrgent(): boolean;
}

/** Shared by all that a service has in hand, however many partitions that is. */
export class Turns {
  #places = TURNS_AT_ONCE;
  readonly #waiting: { claim: Claim; begin(hasPlace: boolean): void }[] = [];

  async take<Result>(claim: Claim, work: () => Promise<Result>): Promise<Result> {
    const hasPlace = await new Promise<boolean>((begin) => {
      this.#waiting.push({ claim, begin });
      this.admit();
    });
    try {
      return await work();
    } finally {
      if (hasPlace) this.#places++;
      this.admit();
    }
  }

  /** Whoever has become urgent begins. */
  admit(): void {
    this.#waiting.sort(
      ({ claim: one }, { claim: other }) => one.rank - other.rank || one.index - other.index,
    );
    for (const each of [...this.#waiting]) {
      const hasPlace = this.#places > 0;
      if (!hasPlace && !each.claim.isUrgent()) continue;
      if (hasPlace) this.#places--;
      this.#waiting.splice(this.#waiting.indexOf(each), 1);
      each.begin(hasPlace);
    }
  }
}

/** What the items of one lane share. */
export interface Lane {
  /** Waits so long, or for what is left of the lane's pauses. */
  pause(ms: number): Promise<void>;
  /** Runs `work` when it is this lane's turn; `rank` says how often it was tried. */
  turn<Result>(rank: number, work: () => Promise<Result>): Promise<Result>;
}

interface Options<Item> {
  keyOf: (item: Item) => string;
  work: (item: Item, lane: Lane) => Promise<void>;
  pause(ms: number): Promise<void>;
  turns: Turns;
  /** Of a lane, in all. */
  pausesMs: number;
  /** No turn begins later, but for those of the very first item where all wait for it. */
  msMax: number;
}

/** There is no time for another turn, or another lane has failed. */
class Ended extends Error {}

/** Answers how many are done, from the first on. Rejects with what `work` rejects with. */
export async function workInLanes<Item>(items: readonly Item[], options: Options<Item>): Promise<number> {
  const { keyOf, work, pause, turns, pausesMs, msMax } = options;
  const endsAt = performance.now() + msMax;
  const done = new Set<number>();
  let first = 0;
  const failures: unknown[] = [];
  const hasEnded = (index: number) =>
    failures.length > 0 || (performance.now() > endsAt && (first > 0 || index > 0));

  const turn = <Result>(index: number, rank: number, take: () => Promise<Result>): Promise<Result> => {
    const isUrgent = () => index === first || hasEnded(index);
    return turns.take({ rank, index, isUrgent }, async () => {
      if (hasEnded(index)) throw new Ended();
      return take();
    });
  };

  const workOff = async (indices: readonly number[]): Promise<void> => {
    let current = 0;
    let leftMs = pausesMs;
    const lane: Lane = {
      turn: (rank, take) => turn(current, rank, take),
      pause: async (ms) => {
        if (hasEnded(current)) throw new Ended();
        const pausedMs = Math.min(ms, leftMs);
        leftMs -= pausedMs;
        await pause(pausedMs);
      },
    };
    for (current of indices) {
      await work(items[current] as Item, lane);
      done.add(current);
      while (done.has(first)) first++;
      turns.admit();
    }
  };

  const lanes = Map.groupBy(items.keys(), (index) => keyOf(items[index] as Item));
  await Promise.all(
    [...lanes.values()].map((indices) =>
      workOff(indices).catch((err) => {
        if (!(err instanceof Ended)) failures.push(err);
        turns.admit();
      }),
    ),
  );
  if (failures.length > 0) throw failures[0];
  return first;
}
