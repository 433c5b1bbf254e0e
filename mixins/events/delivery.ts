/**
 * What becomes of events that have arrived, whoever carried them: one effect each, in their order, in one transaction
 * of the consumer's database with the inbox (and, where the carrier keeps it there, the offset). Where a batch fails its
 * events are taken one by one, each tried again in place with a growing pause; after the last try it becomes a dead
 * letter, and only when that is durable does the offset move. A database that is away is no try: it is waited for.
 */
import { createHash } from "node:crypto";
import { eventOf, kindOf, partsOf, type ShopEvent } from "../../lib/event.ts";
import { type Database, isTransient, type Queryable } from "../database.mixin.ts";
import type { Traces } from "../traces.ts";
import { type DeadLetter, keepDeadLetter, removeDeadLetter, takeEvents } from "./inbox.rows.ts";
import type { Topic } from "./topics.ts";

/** Has the effect of these events, all of one kind, in order, each once. It writes with `tx` and to nothing else. */
export type EventHandler = (tx: Queryable, events: readonly ShopEvent[]) => Promise<unknown>;

/** An event as it came. */
export interface Arrival {
  topic: Topic;
  partition: number;
  /** Kafka's offset, or the position in the outbox. */
  position: number;
  body: string;
  /** Undefined where the body is no event. */
  event: ShopEvent | undefined;
}

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

/** Four pauses between five tries, 7.5 s in all; with the limit on each, and one with its batch, a partition waits 26 s. */
export const PAUSES_MS = [500, 1_000, 2_000, 4_000] as const;
/** Of what a handler does in a try: of each statement, and of what it waits for otherwise. */
const TRY_MS_MAX = 3_000;
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

/** Of a handler, and nothing a database that is away would explain. */
class HandlerFailed extends Error {}

/** Errors of a handler that speaks of connections are its own. */
const isAway = (err: unknown): boolean =>
  !(err instanceof HandlerFailed || err instanceof Overtaken || err instanceof Stopping) && isTransient(err);

/** A failure for good, and how often it was tried. */
interface Failure {
  cause: Error;
  attempts: number;
}

export class Delivery {
  readonly #options: DeliveryOptions;
  /** The types that some version is wanted of. */
  readonly #types: ReadonlySet<string>;
  /** How many dead letters there were, by topic. */
  readonly buried = new Map<Topic, number>();

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#types = new Set([...options.handlers.keys()].map((kind) => partsOf(kind)?.type as string));
  }

  /** `arrivals` follow one another in one partition. When it resolves all of them are taken, or dead letters. */
  async deliver(arrivals: readonly Arrival[], carrier: Carrier): Promise<void> {
    const isPlain = !arrivals.some((arrival) => this.#strangeness(arrival));
    if (isPlain && (await this.#together(arrivals, carrier))) return;
    for (const arrival of arrivals) {
      const failure = await this.#alone(arrival, carrier);
      if (failure) await this.#bury(this.#letterOf(arrival, failure), carrier);
    }
  }

  /** Tries a dead letter again. It is deleted with its effect, or kept with why it failed again. */
  async replay(letter: DeadLetter, pause: Carrier["pause"]): Promise<void> {
    const arrival: Arrival = { ...letter, event: eventOf(letter.body) };
    const moved = async (tx: Queryable) => {
      if (!(await removeDeadLetter(tx, letter.id))) throw new Overtaken();
    };
    try {
      const failure = await this.#alone(arrival, { moved, pause });
      if (failure) await this.#bury({ ...this.#letterOf(arrival, failure), id: letter.id }, { pause });
    } catch (err) {
      if (!(err instanceof Overtaken)) throw err;
    }
  }

  /** False where some event of the batch is at fault. */
  async #together(arrivals: readonly Arrival[], carrier: Carrier): Promise<boolean> {
    try {
      await this.#present(carrier, () => this.#transaction(arrivals, carrier));
      return true;
    } catch (err) {
      if (err instanceof HandlerFailed) return false;
      throw err;
    }
  }

  /** Tries until it is taken, or has failed often enough. */
  async #alone(arrival: Arrival, carrier: Carrier): Promise<Failure | undefined> {
    const strangeness = this.#strangeness(arrival);
    if (strangeness !== undefined) return { cause: new Error(strangeness), attempts: 0 };
    for (let attempts = 1; ; attempts++) {
      try {
        await this.#present(carrier, () => this.#transaction([arrival], carrier));
        return undefined;
      } catch (err) {
        if (!(err instanceof HandlerFailed)) throw err;
        const pauseMs = PAUSES_MS[attempts - 1];
        if (pauseMs === undefined) return { cause: err.cause as Error, attempts };
        await carrier.pause(pauseMs);
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

  async #transaction(arrivals: readonly Arrival[], { moved }: Carrier): Promise<void> {
    const { db, handlers } = this.#options;
    const last = arrivals.at(-1) as Arrival;
    const wanted = arrivals.flatMap(({ event }) => (event && handlers.has(kindOf(event)) ? [event] : []));
    if (wanted.length === 0 && !moved) return;
    let isHandled = false;
    const work = db.transaction(async (tx) => {
      // First, so that replicas that have read the same wait for one another here, and not with half of an effect.
      await moved?.(tx, last.position);
      if (wanted.length === 0) return;
      const fresh = await takeEvents(
        tx,
        wanted.map(({ id }) => id),
      );
      // Whoever waits for a lock would wait for as long as a transaction may take, and others behind it.
      await tx.query({ text: `set local statement_timeout = ${TRY_MS_MAX}` });
      // An event that stands twice in one batch is one event.
      for (const run of runsOf(wanted.filter(({ id }) => fresh.delete(id)))) await this.#handle(tx, run);
      isHandled = true;
    });
    await work.catch((cause) => {
      // Some effects are refused at the end only: by a constraint that is deferred, or after an error that was swallowed.
      if (isHandled && !isTransient(cause)) throw new HandlerFailed("an event could not be taken", { cause });
      throw cause;
    });
  }

  async #handle(tx: Queryable, run: readonly ShopEvent[]): Promise<void> {
    const { handlers, service, traces } = this.#options;
    const kind = kindOf(run[0] as ShopEvent);
    const handler = handlers.get(kind) as EventHandler;
    const work = () => tried(tx, (limited) => handler(limited, run));
    if (!traces) return work();
    for (const { id, traceparent } of run) traces.resume(service, id, traceparent);
    const ids = run.map(({ id }) => id);
    await traces.batch(kind, service, ids, work);
  }

  /** Durable when it resolves, and passed by. */
  async #bury(letter: DeadLetter, carrier: Carrier): Promise<void> {
    const { id, topic, partition, position, attempts, error } = letter;
    await this.#present(carrier, async () => {
      await carrier.buried?.(letter).catch((cause) => {
        throw new Unreachable(`the dead letters cannot be reached: ${cause.message}`, { cause });
      });
      await this.#options.db.transaction(async (tx) => {
        await carrier.moved?.(tx, position);
        await keepDeadLetter(tx, letter);
      });
    });
    this.buried.set(topic, (this.buried.get(topic) ?? 0) + 1);
    this.#options.logger.error(
      `dead letter ${id} (${topic}, partition ${partition}, position ${position}, ${attempts} tries): ${error}`,
    );
  }

  /** Why an event is for nobody here to take, and yet not to be passed over. */
  #strangeness({ event }: Arrival): string | undefined {
    if (!event) return "it is no event: expected JSON with id, type, version, key, payload and time";
    if (!this.#types.has(event.type) || this.#options.handlers.has(kindOf(event))) return undefined;
    return `version ${event.version} of ${event.type} is not known here`;
  }

  #letterOf({ topic, partition, position, body }: Arrival, { cause, attempts }: Failure): DeadLetter {
    // With the body: another carrier, or a topic that was made anew, counts its positions from the beginning again.
    const place = `${this.#options.service} ${topic} ${partition} ${position} ${body}`;
    return {
      id: idOf(place),
      topic,
      partition,
      position,
      body: storable(body),
      error: storable(String(cause?.message ?? cause)),
      stack: typeof cause?.stack === "string" ? storable(cause.stack) : null,
      attempts,
    };
  }
}

/** The same for what is buried twice, because the offset did not move the first time. A UUID of version 8. */
function idOf(place: string): string {
  const digits = createHash("sha256").update(place).digest("hex");
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-8${digits.slice(13, 16)}-a${digits.slice(17, 20)}-${digits.slice(20, 32)}`;
}

/** PostgreSQL takes no U+0000. */
const storable = (text: string): string => text.replaceAll("\0", "\ufffd");

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

/**
 * One try of a handler. What goes wrong is the handler's fault (HandlerFailed) unless its database is away. A handler
 * that takes too long without its database working for it has failed; it can write nothing afterwards.
 */
async function tried(tx: Queryable, handle: (limited: Queryable) => Promise<unknown>): Promise<void> {
  let isOver = false;
  let running = 0;
  const away = new Set<unknown>();
  const limited: Queryable = {
    async query(statement) {
      if (isOver) throw new Error("the transaction of this event is over");
      running++;
      try {
        return (await tx.query(statement)) as never;
      } catch (err) {
        if (isTransient(err)) away.add(err);
        throw err;
      } finally {
        running--;
      }
    },
  };
  const late = Promise.withResolvers<never>();
  const timer = setInterval(() => {
    if (running === 0) late.reject(new Error(`the handler took more than ${TRY_MS_MAX} ms`));
  }, TRY_MS_MAX);
  try {
    await Promise.race([handle(limited), late.promise]);
  } catch (cause) {
    if (away.has(cause)) throw cause;
    throw new HandlerFailed("an event could not be taken", { cause });
  } finally {
    isOver = true;
    clearInterval(timer);
  }
}
