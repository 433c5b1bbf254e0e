/**
 * Patience with something outside that is away (Kafka, another service): tried again after a pause that grows, said once
 * when it goes and once when it is back, and never a failure of the node, which has other things to do.
 */
import { type Clock, realClock } from "../../actors/clock.ts";

const PAUSE_MS_MIN = 250;
/** What comes back is used again after this long at most. */
const PAUSE_MS_MAX = 5_000;

interface Logger {
  info(...args: unknown[]): void;
  warn(...args: unknown[]): void;
}

export class Outage {
  readonly #what: string;
  readonly #logger: Logger;
  readonly #clock: Clock;
  #failures = 0;
  #nextTryAt = 0;

  /** `what` as in `Kafka (127.0.0.1:9092)`. */
  constructor(what: string, logger: Logger, clock: Clock = realClock) {
    this.#what = what;
    this.#logger = logger;
    this.#clock = clock;
  }

  /** True while it is too early for another try. */
  get isPausing(): boolean {
    return this.#clock.now() < this.#nextTryAt;
  }

  /** Runs `work` unless it is too early for another try. Answers its result, or undefined where there is none. */
  async patiently<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    if (this.isPausing) return undefined;
    let result: Result;
    try {
      result = await work();
    } catch (err) {
      const pauseMs = Math.min(PAUSE_MS_MIN * 2 ** this.#failures, PAUSE_MS_MAX);
      this.#nextTryAt = this.#clock.now() + pauseMs * (0.5 + this.#clock.random() / 2);
      if (this.#failures++ === 0)
        this.#logger.warn(`${this.#what} cannot be reached and is waited for: ${(err as Error).message}`);
      return undefined;
    }
    if (this.#failures > 0) this.#logger.info(`${this.#what} is back`);
    this.#failures = 0;
    this.#nextTryAt = 0;
    return result;
  }
}
