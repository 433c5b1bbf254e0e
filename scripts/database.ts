/** One look at a service's database, which may not have the table that is asked for: not every service tells or consumes. */
import pg from "pg";
import type { DatabaseName } from "../config/index.ts";

export type Urls = Readonly<Partial<Record<DatabaseName, string>>>;

/** Answers nothing where there is no such table. */
export async function onDatabase<Result>(
  url: string,
  table: string,
  work: (client: pg.Client) => Promise<Result[]>,
): Promise<Result[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query("select to_regclass($1) is not null as there", [table]);
    return rows[0].there ? await work(client) : [];
  } finally {
    await client.end();
  }
}
