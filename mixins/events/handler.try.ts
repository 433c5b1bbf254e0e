/**
 * One try of a handler: what goes wrong is the handler's fault unless its database is away. A try ends within its time,
 * whatever the handler waits for; a handler that goes on afterwards can write nothing any more.
 */
import { isTransient, type Queryable } from "../database.mixin.ts";

/** Of what a handler does in a try: of each statement, and of what it waits for otherwise. */
export const TRY_MS_MAX = 3_000;
/** Of a try with all its statements: the server ends it, a moment after each statement's own time. */
export const TRY_MS_MAX_OF_ALL = 3_500;

/** Of a handler, and nothing a database that is away would explain. */
export class HandlerFailed extends Error {
  constructor(cause: unknown) {
    super("an event could not be taken", { cause });
  }
}

export async function tried(tx: Queryable, handle: (limited: Queryable) => Promise<unknown>): Promise<void> {
  let isOver = false;
  let isLate = false;
  let running = 0;
  const away = new Set<unknown>();
  const late = Promise.withResolvers<never>();
  late.promise.catch(() => undefined);
  const tooLate = () => new Error(`the handler took more than ${TRY_MS_MAX} ms`);
  // A statement that runs then has a time of its own, and its handler the last word on how it went.
  const endWhereIdle = () => {
    if (isLate && running === 0) late.reject(tooLate());
  };
  const limited: Queryable = {
    async query(statement) {
      if (isOver) throw new Error("the transaction of this event is over");
      if (isLate) throw tooLate();
      running++;
      try {
        return (await tx.query(statement)) as never;
      } catch (err) {
        if (isTransient(err)) away.add(err);
        throw err;
      } finally {
        running--;
        if (isLate) setImmediate(endWhereIdle);
      }
    },
  };
  const timer = setTimeout(() => {
    isLate = true;
    endWhereIdle();
  }, TRY_MS_MAX);
  try {
    await Promise.race([handle(limited), late.promise]);
  } catch (cause) {
    if (away.has(cause)) throw cause;
    throw new HandlerFailed(cause);
  } finally {
    isOver = true;
    clearTimeout(timer);
  }
}
