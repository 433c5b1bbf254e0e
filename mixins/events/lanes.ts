/**
 * Works off items that have an order by key: those of one key are a lane, one after the other; lanes go side by side, so
 * one that waits holds up no other. Each takes a turn for what needs the database: few at a time, the lowest item first,
 * and the very first that is not done never waits, because all others wait for it in the end. When the time is over, as
 * many items as are done from the first on are the result, and what is behind them is not done, whatever became of it.
 */
/** Each turn takes a connection of the service's pool, which others need as well. */
const TURNS_AT_ONCE = 2;

/** What the items of one lane share. */
export interface Lane {
  /** How long they may still pause, in all. */
  pausesLeftMs: number;
  /** Runs `work` when it is this lane's turn. */
  turn<Result>(work: () => Promise<Result>): Promise<Result>;
}

interface Options<Item> {
  keyOf: (item: Item) => string;
  work: (item: Item, lane: Lane) => Promise<void>;
  pausesMs: number;
  /** No turn begins later, once there is a result. */
  msMax: number;
}

/** There is no time for another turn, or another lane has failed. */
class Ended extends Error {}

interface Waiting {
  index: number;
  begin(hasPlace: boolean): void;
}

/** Answers how many are done, from the first on. Rejects with what `work` rejects with. */
export async function workInLanes<Item>(items: readonly Item[], options: Options<Item>): Promise<number> {
  const { keyOf, work, pausesMs, msMax } = options;
  const endsAt = performance.now() + msMax;
  const done = new Set<number>();
  let first = 0;
  let places = TURNS_AT_ONCE;
  const waiting: Waiting[] = [];
  const failures: unknown[] = [];
  const hasEnded = () => failures.length > 0 || (first > 0 && performance.now() > endsAt);

  const admit = () => {
    waiting.sort((one, other) => one.index - other.index);
    while (waiting[0] && (places > 0 || waiting[0].index === first || hasEnded())) {
      const hasPlace = places > 0;
      if (hasPlace) places--;
      waiting.shift()?.begin(hasPlace);
    }
  };

  const turn = async <Result>(index: number, take: () => Promise<Result>): Promise<Result> => {
    const hasPlace = await new Promise<boolean>((begin) => {
      waiting.push({ index, begin });
      admit();
    });
    try {
      if (hasEnded()) throw new Ended();
      return await take();
    } finally {
      if (hasPlace) places++;
      admit();
    }
  };

  const workOff = async (indices: readonly number[]): Promise<void> => {
    let current = 0;
    const lane: Lane = { pausesLeftMs: pausesMs, turn: (take) => turn(current, take) };
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
