/**
 * How long the caller of one run waits: for its first step, and for the whole. One timer serves both, because it is
 * made for every run and almost never fires; the second limit is set only once the first has passed.
 */
import type { Clock } from "../clock.ts";

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
