/**
 * Starts the embedded PostgreSQL again where it ends under a shop that runs: killed for the memory it took, or by a disk
 * that was full, on which it cannot even recover. The shop answers 503 meanwhile and makes its connections anew.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { embeddedAddressFile } from "../config/database.ts";
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
  let birth = birthOf(current.pid);
  const over = new AbortController();

  async function startAgain(): Promise<void> {
    let said = "";
    for (;;) {
      try {
        refuseToBeginAfresh(options.dataDir);
        const again = await ensurePostgres(options);
        const before = current;
        current = again;
        birth = birthOf(again.pid);
        // Registered twice, this process would wait for itself to leave.
        await before.stop().catch((err: Error) => log(`${options.dataDir}/postgres.json: ${err.message}`));
        // Another program has taken the port meanwhile, and everybody here knows the old one.
        const moved = again.url === first.url ? "" : ", at another port: start the shop again";
        return log(`PostgreSQL runs again (pid ${again.pid})${moved}`);
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
      if (birthOf(current.pid) === birth) continue;
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

/** The shop that runs has decided on what was there: an empty database, or another password, is for a start to make. */
function refuseToBeginAfresh(dataDir: string): void {
  for (const file of [path.join(dataDir, "postgres"), embeddedAddressFile(dataDir)])
    if (!existsSync(file)) throw new Error(`${file} has gone; put it back, or stop the shop`);
}
