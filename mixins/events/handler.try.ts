/**
 * One try of a handler: what goes wrong is the handler's fault unless its database is away. A try ends within its time,
 * whatever the handler waits for; a handler that goes on afterwards can write nothing any more.
 */
import { isTransient } from "../database.errors.ts";
import type { Queryable } from "../database.mixin.ts";

/** Of a handler, and nothing a database that is away would explain. */
export class HandlerFailed extends Error {
  constructor(cause: unknown) {
    super("an event could not be taken", { cause });
  }
}

export async function tried(
  tx: Queryable,
  handle: (limited: Queryable) => Promise<unknown>,
  msMax: number,
): Promise<void> {
  let isOver = false;
  let isLate = false;
  let running = 0;
  const away = new Set<unknown>();
  const late = Promise.withResolvers<never>();
  late.promise.catch(() => undefined);
  const tooLate = () => new Error(`the handler took more than ${msMax} ms`);
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
  }, msMax);
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
