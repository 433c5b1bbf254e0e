/**
 * Works off items that have an order by key: those of one key are a lane, one after the other; lanes go side by side, so
 * one that waits holds up no other. Each takes a turn for what needs the database: few at a time, what was tried least
 * before the rest, and the very first item that is not done never waits, because all others wait for it in the end. When
 * the time is over the result is how many are done from the first on, whatever became of those behind.
 */
/** Each turn takes a connection of the service's pool, which others need as well. */
const TURNS_AT_ONCE = 3;

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
  /** Of a lane, in all. */
  pausesMs: number;
  /** No turn begins later, but for those of the very first item where all wait for it. */
  msMax: number;
}

/** There is no time for another turn, or another lane has failed. */
class Ended extends Error {}

interface Waiting {
  index: number;
  rank: number;
  begin(hasPlace: boolean): void;
}

/** Answers how many are done, from the first on. Rejects with what `work` rejects with. */
export async function workInLanes<Item>(items: readonly Item[], options: Options<Item>): Promise<number> {
  const { keyOf, work, pause, pausesMs, msMax } = options;
  const endsAt = performance.now() + msMax;
  const done = new Set<number>();
  let first = 0;
  let places = TURNS_AT_ONCE;
  const waiting: Waiting[] = [];
  const failures: unknown[] = [];
  const hasEnded = (index: number) =>
    failures.length > 0 || (performance.now() > endsAt && (first > 0 || index > 0));

  const admit = () => {
    waiting.sort((one, other) => one.rank - other.rank || one.index - other.index);
    for (const each of [...waiting]) {
      const hasPlace = places > 0;
      if (!hasPlace && each.index !== first && !hasEnded(each.index)) continue;
      if (hasPlace) places--;
      waiting.splice(waiting.indexOf(each), 1);
      each.begin(hasPlace);
    }
  };

  const turn = async <Result>(index: number, rank: number, take: () => Promise<Result>): Promise<Result> => {
    const hasPlace = await new Promise<boolean>((begin) => {
      waiting.push({ index, rank, begin });
      admit();
    });
    try {
      if (hasEnded(index)) throw new Ended();
      return await take();
    } finally {
      if (hasPlace) places++;
      admit();
    }
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
      admit();
    }
  };

  const lanes = Map.groupBy(items.keys(), (index) => keyOf(items[index] as Item));
  await Promise.all(
    [...lanes.values()].map((indices) =>
      workOff(indices).catch((err) => {
        if (!(err instanceof Ended)) failures.push(err);
        admit();
      }),
    ),
  );
  if (failures.length > 0) throw failures[0];
  return first;
}
