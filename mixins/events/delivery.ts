/**
 * What becomes of events that have arrived, whoever carried them: one effect each, in their order, in one transaction
 * of the consumer's database with the inbox (and, where the carrier keeps it there, the offset). Where a batch fails its
 * events are taken one by one, the keys side by side and each in its order: one that fails is tried again after a growing
 * pause, and becomes a dead letter after the last try. The offset moves when what is before it is taken or a dead
 * letter, durably. A database that is away is no try: it is waited for.
 */
import { eventOf, kindOf, partsOf, type ShopEvent } from "../../lib/event.ts";
import { isTransient } from "../database.errors.ts";
import type { Database, Queryable } from "../database.mixin.ts";
import type { Traces } from "../traces.ts";
import { type Arrival, type DeadLetter, type Failure, letterOf } from "./dead.letter.ts";
import { HandlerFailed, tried } from "./handler.try.ts";
import { failDeadLetter, keepDeadLetter, removeDeadLetter, takeEvents } from "./inbox.rows.ts";
import { type Lane, Turns, workInLanes } from "./lanes.ts";
import type { Topic } from "./topics.ts";

/** Has the effect of these events, all of one kind, in order, each once. It writes with `tx` and to nothing else. */
export type EventHandler = (tx: Queryable, events: readonly ShopEvent[]) => Promise<unknown>;

/** What a carrier does for the deliveries it brings. */
export interface Carrier {
  /** In the transaction that takes everything up to `position`. Throws Overtaken where another consumer has. */
  moved?(tx: Queryable, position: number): Promise<void>;
  /** Tells others of a dead letter, durably, before it is kept. */
  buried?(letter: DeadLetter): Promise<void>;
  /** Waits. Rejects where the consumer stops, or the events are somebody else's now. */
  pause(ms: number): Promise<void>;
}

/** Another replica has taken what was to be taken here. */
export class Overtaken extends Error {}

/** What shall hear of dead letters is away, which is no fault of theirs. */
class Unreachable extends Error {}

/** The consumer stops; what is not taken is delivered again after the next start. */
export class Stopping extends Error {}

/** Of what a handler does in a try: of each statement, and of what it waits for otherwise. */
const TRY_MS_MAX = 3_000;
/** Of an event's first try on its own, so that those that hang let the healthy ones behind them pass. */
const FIRST_TRY_MS_MAX = 500;
/** A try with all its statements is ended by the server, so long after its own time. */
const GRACE_MS = 500;
/** Between five tries. */
export const PAUSES_MS = [500, 1_000, 2_000, 4_000] as const;
/** Those of one event. What comes behind a dead letter of its key, and fails too, has its five tries with what is left. */
const PAUSES_MS_OF_KEY = 7_500;
/**
 * When the tries of a batch end: the last of its first event begins after 17 s (with the pauses), or 19 s where statements
 * hang. With the batch's own try before, and a pause or try that is under way, a partition waits for less than 30 s.
 */
const LANES_MS_MAX = 20_000;
/** Between two looks at a database that is away. */
const AWAY_MS = 1_000;

interface Logger {
  warn(...args: unknown[]): void;
  error(...args: unknown[]): void;
}

interface DeliveryOptions {
  service: string;
  db: Database;
  handlers: ReadonlyMap<string, EventHandler>;
  logger: Logger;
  traces?: Traces | undefined;
}

/** What a transaction does besides the effects. */
interface Besides {
  /** Comes first, so that replicas that have read the same wait for one another there, and not with half of an effect. */
  before?: ((tx: Queryable) => Promise<void>) | undefined;
  tryMs?: number;
  /** A dead letter is in the inbox; that it was there to be removed is what makes it fresh. */
  isReplay?: boolean;
}

/** Errors of a handler that speaks of connections are its own. */
const isAway = (err: unknown): boolean =>
  !(err instanceof HandlerFailed || err instanceof Overtaken || err instanceof Stopping) && isTransient(err);

export class Delivery {
  readonly #options: DeliveryOptions;
  /** The types that some version is wanted of. */
  readonly #types: ReadonlySet<string>;
  readonly #turns = new Turns();
  /** How many dead letters there were, by topic. */
  readonly buried = new Map<Topic, number>();

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#types = new Set([...options.handlers.keys()].map((kind) => partsOf(kind)?.type as string));
  }

  /**
   * `arrivals` follow one another in one partition. Answers how many of them, from the first on, are taken or dead
   * letters; the others, of which some may be taken, are to be delivered again, with what came meanwhile.
   */
  async deliver(arrivals: readonly Arrival[], carrier: Carrier): Promise<number> {
    const last = arrivals.at(-1) as Arrival;
    const plain = arrivals.filter((arrival) => this.#strangeness(arrival) === undefined);
    if (plain.length < arrivals.length) await this.#buryStrange(arrivals, carrier);
    if (await this.#together(plain, last.position, carrier)) return arrivals.length;
    const taken = await this.#byKey(plain, carrier);
    const next = plain[taken];
    const count = next ? arrivals.indexOf(next) : arrivals.length;
    const reached = arrivals[count - 1];
    // Their offset has not moved yet: single events are taken in the order of their keys, not of their positions.
    if (reached) await this.#together([], reached.position, carrier);
    return count;
  }

  /** Tries dead letters again, those of a key in their order. Each is deleted with its effect, or kept with why it failed again. */
  async replay(letters: readonly DeadLetter[], pause: Carrier["pause"]): Promise<void> {
    const arrivals = letters.map((letter) => ({ ...letter, event: eventOf(letter.body) }));
    await this.#inLanes(arrivals, pause, async (arrival, lane) => {
      const remove = async (tx: Queryable) => {
        if (!(await removeDeadLetter(tx, arrival.id))) throw new Overtaken();
      };
      try {
        const besides = { before: remove, isReplay: true };
        const failure = await this.#alone(arrival, { pause }, lane, besides);
        if (!failure) return;
        const { db, service } = this.#options;
        const letter = { ...letterOf(service, arrival, failure), id: arrival.id };
        // One that is gone was deleted, or another replica has taken it.
        await this.#present({ pause }, async () => {
          if (await failDeadLetter(db, letter)) this.#count(letter);
        });
      } catch (err) {
        if (!(err instanceof Overtaken)) throw err;
      }
    });
  }

  #inLanes<Item extends Arrival>(
    items: readonly Item[],
    pause: Carrier["pause"],
    work: (item: Item, lane: Lane) => Promise<void>,
  ): Promise<number> {
    return workInLanes(items, {
      keyOf: ({ topic, position, event }) => (event ? `${topic} ${event.key}` : `${topic} at ${position}`),
      work,
      pause,
      turns: this.#turns,
      pausesMs: PAUSES_MS_OF_KEY,
      msMax: LANES_MS_MAX,
    });
  }

  /** What nobody here can take has no effect that an order would matter to, and need not fail its neighbours. */
  async #buryStrange(arrivals: readonly Arrival[], carrier: Carrier): Promise<void> {
    for (const arrival of arrivals) {
      const strangeness = this.#strangeness(arrival);
      if (strangeness !== undefined)
        await this.#bury(arrival, { cause: new Error(strangeness), attempts: 0 }, carrier);
    }
  }

  /** False where some event of the batch is at fault. `position` is that of the last that came with them. */
  async #together(arrivals: readonly Arrival[], position: number, carrier: Carrier): Promise<boolean> {
    const { moved } = carrier;
    const before = moved && ((tx: Queryable) => moved(tx, position));
    try {
      await this.#present(carrier, () => this.#transaction(arrivals, { before }));
      return true;
    } catch (err) {
      if (err instanceof HandlerFailed) return false;
      throw err;
    }
  }

  #byKey(arrivals: readonly Arrival[], carrier: Carrier): Promise<number> {
    const pause = (ms: number) => carrier.pause(ms);
    return this.#inLanes(arrivals, pause, async (arrival, lane) => {
      const failure = await this.#alone(arrival, carrier, lane);
      if (failure) await this.#bury(arrival, failure, carrier);
    });
  }

  /** Tries until it is taken, or has failed often enough. */
  async #alone(
    arrival: Arrival,
    carrier: Carrier,
    lane: Lane,
    besides: Besides = {},
  ): Promise<Failure | undefined> {
    const strangeness = this.#strangeness(arrival, besides.isReplay);
    if (strangeness !== undefined) return { cause: new Error(strangeness), attempts: 0 };
    for (let attempts = 1; ; attempts++) {
      try {
        const tryMs = attempts === 1 ? FIRST_TRY_MS_MAX : TRY_MS_MAX;
        await this.#present(carrier, () =>
          lane.turn(attempts, () => this.#transaction([arrival], { ...besides, tryMs })),
        );
        return undefined;
      } catch (err) {
        if (!(err instanceof HandlerFailed)) throw err;
        const pauseMs = PAUSES_MS[attempts - 1];
        if (pauseMs === undefined) return { cause: err.cause as Error, attempts };
        await lane.pause(pauseMs);
      }
    }
  }

  /** Runs `work` when the database is there for it, however long that takes. */
  async #present(carrier: Carrier, work: () => Promise<void>): Promise<void> {
    for (let isSaid = false; ; isSaid = true) {
      try {
        return await work();
      } catch (err) {
        if (!(err instanceof Unreachable) && !isAway(err)) throw err;
        if (!isSaid) this.#options.logger.warn("events wait:", (err as Error).message);
        await carrier.pause(AWAY_MS);
      }
    }
  }

  async #transaction(arrivals: readonly Arrival[], besides: Besides): Promise<void> {
    const { before, isReplay, tryMs = TRY_MS_MAX } = besides;
    const { db, handlers } = this.#options;
    const wanted = arrivals.flatMap(({ event }) => (event && handlers.has(kindOf(event)) ? [event] : []));
    if (wanted.length === 0 && !before) return;
    let isHandled = false;
    const work = db.transaction(async (tx) => {
      await before?.(tx);
      if (wanted.length === 0) return;
      const ids = wanted.map(({ id }) => id);
      const taken = await takeEvents(tx, ids, limits(tryMs));
      const fresh = isReplay ? new Set(ids) : taken;
      // An event that stands twice in one batch is one event.
      const runs = runsOf(wanted.filter(({ id }) => fresh.delete(id)));
      const handleAll = async (limited: Queryable) => {
        for (const run of runs) await this.#handle(limited, run);
      };
      await tried(tx, handleAll, tryMs);
      isHandled = true;
    });
    await work.catch((cause) => {
      // Some effects are refused at the end only: by a constraint that is deferred, or after an error that was swallowed.
      if (isHandled && !isTransient(cause)) throw new HandlerFailed(cause);
      throw cause;
    });
  }

  async #handle(tx: Queryable, run: readonly ShopEvent[]): Promise<unknown> {
    const { handlers, service, traces } = this.#options;
    const kind = kindOf(run[0] as ShopEvent);
    const handler = handlers.get(kind) as EventHandler;
    const work = () => handler(tx, run);
    if (!traces) return work();
    for (const { id, traceparent } of run) traces.resume(service, id, traceparent);
    const ids = run.map(({ id }) => id);
    return traces.batch(kind, service, ids, work);
  }

  /** Durable when it resolves, and passed by: an event is taken, or a dead letter, and in both cases in the inbox. */
  async #bury(arrival: Arrival, failure: Failure, carrier: Carrier): Promise<void> {
    const { db, service } = this.#options;
    const letter = letterOf(service, arrival, failure);
    await this.#present(carrier, async () => {
      await carrier.buried?.(letter).catch((cause) => {
        throw new Unreachable(`the dead letters cannot be reached: ${cause.message}`, { cause });
      });
      const isNew = await db.transaction(async (tx) => {
        const { event } = arrival;
        // Somebody else may have had it too, and was luckier, or buried it before.
        if (event && (await takeEvents(tx, [event.id], limits(TRY_MS_MAX))).size === 0) return false;
        return keepDeadLetter(tx, letter);
      });
      if (isNew) this.#count(letter);
    });
  }

  #count({ id, topic, partition, position, attempts, error }: DeadLetter): void {
    this.buried.set(topic, (this.buried.get(topic) ?? 0) + 1);
    this.#options.logger.error(
      `dead letter ${id} (${topic}, partition ${partition}, position ${position}, ${attempts} tries): ${error}`,
    );
  }

  /** Why an event is for nobody here to take, and yet not to be passed over; what is replayed never is. */
  #strangeness({ event }: Arrival, isReplay = false): string | undefined {
    if (!event) return "it is no event: expected JSON with id, type, version, key, payload and time";
    if (this.#options.handlers.has(kindOf(event))) return undefined;
    if (!this.#types.has(event.type))
      return isReplay ? `${event.type} is not taken here any more` : undefined;
    return `version ${event.version} of ${event.type} is not known here`;
  }
}

const limits = (tryMs: number) => ({ statementMs: tryMs, allMs: tryMs + GRACE_MS });

/** Neighbours of one kind together: a handler gets as many at once as it can without changing the order. */
function runsOf(events: readonly ShopEvent[]): ShopEvent[][] {
  const runs: ShopEvent[][] = [];
  for (const event of events) {
    const run = runs.at(-1);
    if (run && kindOf(run[0] as ShopEvent) === kindOf(event)) run.push(event);
    else runs.push([event]);
  }
  return runs;
}
