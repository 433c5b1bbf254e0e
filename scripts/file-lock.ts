/**
 * One process at a time, between processes, and released by the kernel when its holder dies: SQLite's exclusive lock
 * on an empty file. A lock file with a pid in it would need a rule for stale ones, and every such rule has a race.
 */
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";

const SQLITE_BUSY = 5;
// Longer than a first start or a crash recovery of the database on a slow disk, shorter than a person's patience.
const WAIT_MS_MAX = 180_000;

/** Runs `work` while holding the lock on `file` (created where missing); waits its turn for up to three minutes. */
export async function withFileLock<Result>(file: string, work: () => Promise<Result>): Promise<Result> {
  const lock = open(file);
  try {
    const givesUpAt = performance.now() + WAIT_MS_MAX;
    while (!acquired(lock)) {
      if (performance.now() > givesUpAt)
        throw new Error(
          `another process has held ${file} for ${WAIT_MS_MAX / 1000} s; end it, then try again`,
        );
      await sleep(50);
    }
    return await work();
  } finally {
    lock.close();
  }
}

function open(file: string): DatabaseSync {
  try {
    return new DatabaseSync(file, { timeout: 0 });
  } catch (cause) {
    throw new Error(
      `cannot open ${file} for writing: ${(cause as Error).message}; start as the user who owns it, or set DATA_DIR`,
      { cause },
    );
  }
}

function acquired(lock: DatabaseSync): boolean {
  try {
    lock.exec("begin exclusive");
    return true;
  } catch (err) {
    if ((err as { errcode?: number }).errcode === SQLITE_BUSY) return false;
    throw err;
  }
}
