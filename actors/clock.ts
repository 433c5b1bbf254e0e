/**
 * The clock of the actors: everything they take from time, in one port. The real one is the default everywhere; the
 * simulator brings its own. Time serves liveness only: no outcome may depend on what a clock says.
 */
export interface Clock {
  /** Milliseconds since some moment; never jumps. */
  now(): number;
  sleep(ms: number): Promise<void>;
  /** Calls `then` after `ms`, unless the returned function is called before. */
  after(ms: number, then: () => void): () => void;
  /** Calls `then` after the current turn of the event loop. */
  soon(then: () => void): void;
  /** From 0 to 1: jitter, so that replicas do not act in step. */
  random(): number;
}

export const realClock: Clock = {
  now: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  after(ms, then) {
    const timer = setTimeout(then, ms);
    return () => clearTimeout(timer);
  },
  soon: setImmediate,
  random: Math.random,
};
