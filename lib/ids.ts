/** Identifiers. Every id of the shop is a UUIDv7 (RFC 9562): unique, and roughly ordered by time of making. */
import { randomFillSync } from "node:crypto";
import { v7 } from "uuid";

const BYTES = 16;
/** Random bytes are drawn for this many ids at once: one system call each would cost more than the rest of an id. */
const POOL_IDS = 256;
const pool = new Uint8Array(POOL_IDS * BYTES);
let used = pool.length;

let last = { ms: 0, sequence: 0 };

/** A new id, above every other that this process has made, also when the clock stands still or jumps back. */
export function newId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const random = pool.subarray(used, used + BYTES);
  used += BYTES;
  const ms = Date.now();
  if (ms > last.ms) {
    // A random start with room above it: two processes do not count in step.
    last = {
      ms,
      sequence: ((random[0] as number) << 16) | ((random[1] as number) << 8) | (random[2] as number),
    };
  } else {
    last.sequence++;
  }
  return v7({ random, msecs: last.ms, seq: last.sequence });
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a lower-case hyphenated UUID of any version. */
export const isId = (value: unknown): value is string => typeof value === "string" && UUID.test(value);
