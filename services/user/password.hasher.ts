/**
 * Hashes and compares passwords in worker threads, never on the event loop. The threads are one pool per process,
 * shared by whoever opens a hasher and ended when the last one closes. A full queue refuses at once: a login that
 * would wait past its deadline only keeps others waiting.
 */
import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { Piscina } from "piscina";
import { ShopError } from "../../lib/errors.ts";
import { normalised } from "./password.ts";
import { type CompareTask, EXPIRED, type HashTask, sharedClockMs } from "./password.worker.ts";

/** `budgetMs`: what has not begun by then is dropped, as deadline_exceeded. */
export interface Hasher {
  hash(password: string, budgetMs?: number): Promise<string>;
  /** Where `hash` is undefined it answers false in the same time. */
  matches(password: string, hash: string | undefined, budgetMs?: number): Promise<boolean>;
  /** True where a hash was made at another cost than the one in force. */
  outdated(hash: string): boolean;
  close(): Promise<void>;
}

/** At 90 ms a hash (cost 10), 32 per thread are worked off in about 3 s: within the 5 s that a caller waits. */
const QUEUE_PER_THREAD = 32;
const IDLE_MS_MAX = 30_000;

let shared: { pool: Piscina; holders: number } | undefined;

function holdPool(): Piscina {
  const threads = availableParallelism();
  shared ??= {
    pool: new Piscina({
      filename: new URL("./password.worker.ts", import.meta.url).href,
      minThreads: 1, // a first login after a quiet time does not wait for a thread to load
      maxThreads: threads,
      idleTimeout: IDLE_MS_MAX,
      maxQueue: threads * QUEUE_PER_THREAD,
    }),
    holders: 0,
  };
  shared.holders += 1;
  return shared.pool;
}

async function releasePool(): Promise<void> {
  if (!shared) throw new Error("the pool of password threads was released more often than held");
  shared.holders -= 1;
  if (shared.holders > 0) return;
  const { pool } = shared;
  shared = undefined;
  await pool.destroy();
}

/** `cost` is bcrypt's: 2^cost rounds. */
export function openHasher({ pepper, cost }: { pepper: Uint8Array; cost: number }): Hasher {
  const pool = holdPool();
  const dummy = dummyHash(cost);
  let closed = false;

  const run = async <Result>(name: "hash" | "compare", task: HashTask | CompareTask): Promise<Result> => {
    try {
      const result = await pool.run(task, { name });
      if (result !== EXPIRED) return result as Result;
      throw new ShopError("deadline_exceeded", "The password waited for too long to be looked at.");
    } catch (err) {
      // piscina has neither a class nor a code for its full queue.
      if (err instanceof Error && err.message === "Task queue is at limit")
        throw new ShopError("overloaded", "Too many passwords are being checked; try again.", {
          retryAfter: 1,
        });
      throw err;
    }
  };

  return {
    hash: (password, budgetMs) =>
      run("hash", { password: normalised(password), pepper, cost, expiresAtMs: expiryOf(budgetMs) }),
    async matches(password, hash, budgetMs) {
      const equal = await run<boolean>("compare", {
        password: normalised(password),
        pepper,
        hash: hash ?? dummy,
        expiresAtMs: expiryOf(budgetMs),
      });
      return equal && hash !== undefined;
    },
    outdated: (hash) => !hash.startsWith(prefixOf(cost)),
    async close() {
      if (closed) return;
      closed = true;
      await releasePool();
    },
  };
}

const expiryOf = (budgetMs = Number.POSITIVE_INFINITY): number | null =>
  Number.isFinite(budgetMs) ? sharedClockMs() + budgetMs : null;

const prefixOf = (cost: number): string => `$2b$${String(cost).padStart(2, "0")}$`;

/**
 * A well-formed hash of nothing, so that an unknown user costs a whole comparison (a malformed one returns in 0.06 ms).
 * 22 characters of salt and 31 of digest, all of which base64url shares with bcrypt's alphabet but "-" and "_".
 */
function dummyHash(cost: number): string {
  const noise = randomBytes(48).toString("base64url").replaceAll("-", ".").replaceAll("_", "/");
  return `${prefixOf(cost)}${noise.slice(0, 53)}`;
}
