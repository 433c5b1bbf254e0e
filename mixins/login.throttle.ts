/**
 * Slows down whoever guesses a password, at a login or a change of it: so many failures per account and address in a
 * sliding window, then a wait. `LoginThrottle` is the port; this file also holds the one that remembers in this process.
 * It is bounded, and each process counts for itself; shared.throttle.ts is the one whose counts they share.
 *
 * An attempt counts from its beginning until it ends well, so a hundred at once are not a hundred guesses: those beyond
 * the allowance wait until it is known how the others ended. Nothing here depends on whether the account exists, so a
 * wait tells nothing about that either.
 */
import { createHash } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { ShopError } from "../lib/errors.ts";

export interface Attempt {
  /** The credentials were right: earlier failures are forgiven. */
  succeeded(): Promise<void>;
  failed(): Promise<void>;
  /** The credentials were not judged (an overload, a lost connection): this attempt never was. */
  cancelled(): Promise<void>;
}

/** Seconds until the next attempt is let through; 0 where one that is under way has to end first. */
export interface Refusal {
  retryAfter: number;
}

export interface LoginThrottle {
  begin(account: string, address: string): Promise<Attempt | Refusal>;
}

export const FAILURES_MAX = 10;
export const WINDOW_MS = 15 * 60_000;
/** Of account and address. To fill the attempts of all of them takes a million guesses in a window. */
const PAIRS_MAX = 100_000;
/** Ten passwords are judged within it, unless the shop is overloaded. */
const WAIT_MS_MAX = 2_000;
/** The pauses between looks, the first one: each is twice as long as the one before. */
const LOOK_MS = 50;

/**
 * What `judge` says of a password: null where it is wrong, which counts as a failure. Throws too_many_requests where
 * it is not to be judged now.
 */
export async function judged<Verdict>(
  throttle: LoginThrottle,
  { account, address }: { account: string; address: string },
  judge: () => Promise<Verdict | null>,
): Promise<Verdict | null> {
  const attempt = await begun(throttle, account, address);
  let verdict: Verdict | null;
  try {
    verdict = await judge();
  } catch (err) {
    await attempt.cancelled();
    throw err;
  }
  await (verdict === null ? attempt.failed() : attempt.succeeded());
  return verdict;
}

async function begun(throttle: LoginThrottle, account: string, address: string): Promise<Attempt> {
  const until = Date.now() + WAIT_MS_MAX;
  for (let pauseMs = LOOK_MS; ; pauseMs *= 2) {
    const answer = await throttle.begin(account, address);
    if (!("retryAfter" in answer)) return answer;
    const { retryAfter } = answer;
    if (retryAfter > 0)
      throw new ShopError(
        "too_many_requests",
        `Too many wrong passwords were sent; try again in ${retryAfter} seconds.`,
        { retryAfter },
      );
    if (Date.now() > until)
      throw new ShopError(
        "too_many_requests",
        "Too many passwords of this account are being checked now; try again.",
        {
          retryAfter: 1,
        },
      );
    await setTimeout(pauseMs);
  }
}

/** `now` is in milliseconds. */
export function memoryThrottle(now: () => number = Date.now): LoginThrottle {
  // The attempts that have failed or are under way, oldest first. Pairs used longest ago are forgotten
  // first; the cost of a guess keeps anyone from pushing 100,000 others out within one window.
  const attempts = new LRUCache<string, { at: number; isUnderWay: boolean }[]>({ max: PAIRS_MAX });
  return {
    async begin(account, address) {
      const key = keyOf(account, address);
      const time = now();
      const recent = (attempts.get(key) ?? []).filter(({ at }) => at > time - WINDOW_MS);
      const [oldest] = recent;
      if (recent.length >= FAILURES_MAX && oldest) {
        if (recent.some(({ isUnderWay }) => isUnderWay)) return { retryAfter: 0 };
        return { retryAfter: Math.max(1, Math.ceil((oldest.at + WINDOW_MS - time) / 1_000)) };
      }
      const attempt = { at: time, isUnderWay: true };
      attempts.set(key, [...recent, attempt]);
      return {
        async succeeded() {
          attempts.delete(key);
        },
        async failed() {
          attempt.isUnderWay = false;
        },
        async cancelled() {
          const others = (attempts.get(key) ?? []).filter((other) => other !== attempt);
          if (others.length > 0) attempts.set(key, others);
          else attempts.delete(key);
        },
      };
    },
  };
}

/** Of fixed length, so that long addresses do not take more memory; the zero byte keeps the two parts apart. */
export const keyOf = (account: string, address: string): string =>
  createHash("sha256").update(`${account.trim().toLowerCase()}\0${address}`).digest("base64url");
