/**
 * Reaches the shop's databases from a command beside it: those of DATABASE_URL, or the embedded ones of DATA_DIR,
 * whose server is shared with a running shop or started for the duration.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { databaseUrlOf } from "../config/database.ts";
import { type Config, DATABASES, type DatabaseName } from "../config/index.ts";
import { ensurePostgres } from "./postgres.ts";

export interface Attached {
  urls: Readonly<Record<DatabaseName, string>>;
  /** Leaves the embedded server, which stops unless others use it. */
  release(): Promise<void>;
}

/** Throws where there is no shop yet: it never makes an empty one to look at. */
export async function attach(config: Config, log: (line: string) => void): Promise<Attached> {
  const embedded = DATABASES.some((name) => !config.databaseUrl && !config.databaseUrls[name]);
  if (!embedded) return { urls: urlsOf(config), release: async () => undefined };
  const data = path.join(config.dataDir, "postgres");
  if (!existsSync(data))
    throw new Error(
      `there is no shop in ${config.dataDir}: start one with npm start, or set DATA_DIR or DATABASE_URL`,
    );
  const postgres = await ensurePostgres({ dataDir: config.dataDir, log });
  return { urls: urlsOf(config), release: () => postgres.stop() };
}

const urlsOf = (config: Config): Attached["urls"] =>
  Object.fromEntries(DATABASES.map((name) => [name, databaseUrlOf(name, config)])) as Record<
    DatabaseName,
    string
  >;
