/**
 * Slows down whoever guesses a password: so many failures per account and address in a sliding window, then a wait.
 * `LoginThrottle` is the port; this file also holds the one that remembers in this process. It is bounded, and each
 * replica counts for itself; shared.throttle.ts is the one whose counts they share.
 *
 * An attempt counts as failed from its beginning until it ends well, so a hundred at once are not a hundred guesses.
 * Nothing here depends on whether the account exists, so a wait tells nothing about that either.
 */
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";

export interface Attempt {
  /** The credentials were right: earlier failures are forgiven. */
  succeeded(): Promise<void>;
  /** The credentials were not judged (an overload, a lost connection): this attempt never was. */
  cancelled(): Promise<void>;
}

/** Seconds until the next attempt is let through, at least 1. */
export interface Refusal {
  retryAfter: number;
}

export interface LoginThrottle {
  begin(account: string, address: string): Promise<Attempt | Refusal>;
}

export const FAILURES_MAX = 10;
export const WINDOW_MS = 15 * 60_000;
/** About 30 MB where all of them are full. */
const PAIRS_MAX = 100_000;

/** `now` is in milliseconds. */
export function memoryThrottle(now: () => number = Date.now): LoginThrottle {
  // The times of the attempts that have failed or are under way, oldest first. Pairs used longest ago are forgotten
  // first; the cost of a guess keeps anyone from pushing 100,000 others out within one window.
  const attempts = new LRUCache<string, number[]>({ max: PAIRS_MAX });
  return {
    async begin(account, address) {
      const key = keyOf(account, address);
      const time = now();
      const recent = (attempts.get(key) ?? []).filter((at) => at > time - WINDOW_MS);
      const [oldest] = recent;
      if (recent.length >= FAILURES_MAX && oldest !== undefined)
        return { retryAfter: Math.max(1, Math.ceil((oldest + WINDOW_MS - time) / 1_000)) };
      attempts.set(key, [...recent, time]);
      return {
        async succeeded() {
          attempts.delete(key);
        },
        async cancelled() {
          const times = [...(attempts.get(key) ?? [])];
          const index = times.lastIndexOf(time);
          if (index >= 0) times.splice(index, 1);
          if (times.length > 0) attempts.set(key, times);
          else attempts.delete(key);
        },
      };
    },
  };
}

/** Of fixed length, so that long addresses do not take more memory; the zero byte keeps the two parts apart. */
export const keyOf = (account: string, address: string): string =>
  createHash("sha256").update(`${account.trim().toLowerCase()}\0${address}`).digest("base64url");
