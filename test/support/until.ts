/** Waits for a condition instead of a time. */
import { setTimeout as pause } from "node:timers/promises";

/** Polls every `pauseMs` until `look` answers something true, and answers that. Throws after `msMax`, naming `what` never came. */
export async function until<Result>(
  what: string,
  look: () => Result | Promise<Result>,
  msMax = 10_000,
  pauseMs = 5,
): Promise<NonNullable<Result>> {
  const givesUpAt = performance.now() + msMax;
  for (;;) {
    const result = await look();
    if (result) return result as NonNullable<Result>;
    if (performance.now() > givesUpAt) throw new Error(`waited ${msMax} ms in vain: ${what}`);
    await pause(pauseMs);
  }
}

/** Lets everything that is ready run: promises, deferred starts of batches, replies on loop-back sockets. */
export async function settled(turns = 3): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A promise to settle from outside. */
export function gate<Value = void>() {
  const { promise, resolve, reject } = Promise.withResolvers<Value>();
  promise.catch(() => undefined);
  return { promise, open: resolve, fail: reject };
}
