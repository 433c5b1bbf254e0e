/** How long somebody waits: before asking again, and the caller of one run, for its first step and for the whole. */
import type { Clock } from "../clock.ts";

/** Pauses, in milliseconds, before what has failed is tried again. */
export const BACK_OFF_MS = [20, 50, 100, 250, 500] as const;

/** The same for what is tried for as long as it takes: the last one goes on. */
export const backOffMs = (failures: number): number =>
  BACK_OFF_MS[Math.min(failures, BACK_OFF_MS.length - 1)] as number;

/** One timer serves both waits, because it is made for every run and almost never fires; the second limit is set only
 *  once the first has passed. */
export class Patience {
  #cancel: () => void;
  #isFirstOver = false;
  #isOver = false;
  #leaveFirst: (() => void) | undefined;
  #leave: (() => void) | undefined;

  constructor(firstMs: number, wholeMs: number, clock: Clock) {
    const soonerMs = Math.min(firstMs, wholeMs);
    this.#cancel = clock.after(soonerMs, () => {
      this.#isFirstOver = true;
      this.#cancel = clock.after(wholeMs - soonerMs, () => {
        this.#isOver = true;
        this.#leave?.();
      });
      this.#leaveFirst?.();
    });
  }

  /** What `work` resolves with, or undefined as soon as the time for the first step is up. */
  first<Result>(work: Promise<Result>): Promise<Result | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#isFirstOver) resolve(undefined);
      this.#leaveFirst = () => resolve(undefined);
      work.then(resolve, reject);
    });
  }

  /** What `work` resolves with, or undefined as soon as the time for the whole is up. */
  whole<Result>(work: Promise<Result>): Promise<Result | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) resolve(undefined);
      this.#leave = () => resolve(undefined);
      work.then(resolve, reject);
    });
  }

  /** Nobody waits any more. */
  end(): void {
    this.#cancel();
  }
}
