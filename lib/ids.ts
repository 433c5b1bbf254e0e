/** Identifiers. Every id of the shop is a UUIDv7 (RFC 9562): unique, and roughly ordered by time of making. */
import { randomFillSync } from "node:crypto";
import { v7 } from "uuid";

const BYTES = 16;
/** Random bytes are drawn for this many ids at once: one system call each would cost more than the rest of an id. */
const POOL_IDS = 256;

/** A maker of ids from a wall clock and a source of random bytes. Each id is above every other that this maker has
 *  made, also when the clock stands still or jumps back, and above `floor` (a UUIDv7 of somebody else), whatever the
 *  clock says. */
export function idMaker(
  wallClock: () => number,
  fill: (bytes: Uint8Array) => void,
): (floor?: string) => string {
  const pool = new Uint8Array(POOL_IDS * BYTES);
  let used = pool.length;
  let last = { ms: 0, sequence: 0 };
  const make = (): string => {
    if (used === pool.length) {
      fill(pool);
      used = 0;
    }
    const random = pool.subarray(used, used + BYTES);
    used += BYTES;
    const ms = wallClock();
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
  };
  return (floor) => {
    const id = make();
    if (floor === undefined || id > floor) return id;
    // A millisecond after the floor's is above it, and from there on this maker counts.
    last = { ms: Number.parseInt(floor.slice(0, 8) + floor.slice(9, 13), 16) + 1, sequence: last.sequence };
    return make();
  };
}

export const newId = idMaker(Date.now, randomFillSync);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a lower-case hyphenated UUID of any version. */
export const isId = (value: unknown): value is string => typeof value === "string" && UUID.test(value);

/** Below every id there is. */
export const LOWEST_ID = "00000000-0000-0000-0000-000000000000";
