/**
 * Starts the embedded PostgreSQL again where it ends under a shop that runs: killed for the memory it took, or by a disk
 * that was full, on which it cannot even recover. The shop answers 503 meanwhile and makes its connections anew.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ensurePostgres, type Postgres, type PostgresOptions } from "./postgres.ts";
import { birthOf } from "./processes.ts";

const LOOK_MS = 1_000;
/** Between two starts that fail: each is a process that reads the disk. */
const FAILED_MS = 5_000;

/** As ensurePostgres; `stop()` ends the watch, too. What happens to the server is told to `log`. */
export async function keepPostgres(options: PostgresOptions): Promise<Postgres> {
  const log = options.log ?? (() => undefined);
  const first = await ensurePostgres(options);
  let current = first;
  let birth = birthOf(first.pid);
  const over = new AbortController();

  async function startAgain(): Promise<void> {
    let said = "";
    for (;;) {
      try {
        current = await ensurePostgres({ ...options, existing: current });
        birth = birthOf(current.pid);
        // Another program has taken the port meanwhile, and everybody here knows the old one.
        const moved = current.url === first.url ? "" : ", at another port: start the shop again";
        return log(`PostgreSQL runs again (pid ${current.pid})${moved}`);
      } catch (err) {
        const { message } = err as Error;
        if (message !== said)
          log(`PostgreSQL cannot be started, it is tried every ${FAILED_MS / 1_000} s: ${message}`);
        said = message;
      }
      await sleep(FAILED_MS, undefined, { signal: over.signal });
    }
  }

  async function watch(): Promise<void> {
    for (;;) {
      await sleep(LOOK_MS, undefined, { signal: over.signal, ref: false });
      if (birth !== undefined && birthOf(current.pid) === birth) continue;
      log(`PostgreSQL (pid ${current.pid}) has ended; starting it again ...`);
      await startAgain();
    }
  }

  const watching = watch().catch((err: Error) => {
    if (!over.signal.aborted) log(`PostgreSQL is not watched any more: ${err.message}`);
  });
  return {
    ...first,
    async stop() {
      over.abort();
      await watching;
      await current.stop();
    },
  };
}
