/**
 * The dead letters of a shop, of all services that consume events: read from their databases, and marked there to be
 * tried again, which the running service does.
 */
import pg from "pg";
import type { DatabaseName } from "../../config/index.ts";
import { eventOf, kindOf } from "../../lib/event.ts";

export interface Letter {
  id: string;
  /** The service that could not take it. */
  service: DatabaseName;
  topic: string;
  partition: number;
  position: number;
  body: string;
  error: string;
  stack: string | null;
  attempts: number;
  failedAt: string;
  /** Whether it is to be tried again. */
  replaying: boolean;
}

type Urls = Readonly<Partial<Record<DatabaseName, string>>>;

/** Those of `ids`, or all; the oldest first. */
export async function lettersOf(urls: Urls, ids?: readonly string[]): Promise<Letter[]> {
  const found = await Promise.all(
    Object.entries(urls).map(([service, url]) =>
      onDatabase(url, async (client) => {
        const { rows } = await client.query(
          `select id, topic, partition, position::int8, body, error, stack, attempts, failed_at, replay_at is not null as replaying
           from dead_letters ${ids ? "where id = any($1::uuid[])" : ""} order by failed_at`,
          ids ? [ids] : [],
        );
        return rows.map(
          ({ failed_at, position, ...row }): Letter => ({
            ...row,
            service: service as DatabaseName,
            position: Number(position),
            failedAt: failed_at.toISOString(),
          }),
        );
      }),
    ),
  );
  return found.flat().sort((one, other) => (one.failedAt < other.failedAt ? -1 : 1));
}

/** Marks these as to be tried again. */
export async function requestReplay(urls: Urls, letters: readonly Letter[]): Promise<void> {
  for (const [service, url] of Object.entries(urls)) {
    const ids = letters.filter((letter) => letter.service === service).map(({ id }) => id);
    if (ids.length === 0) continue;
    await onDatabase(url, async (client) => {
      await client.query("update dead_letters set replay_at = now() where id = any($1::uuid[])", [ids]);
      return [];
    });
  }
}

/** `order.confirmed.v1 01a2...`, or that it is none. */
export function nameOf({ body }: Letter): string {
  const event = eventOf(body);
  return event ? `${kindOf(event)} ${event.key}` : "no event";
}

/** A service that consumes nothing has no dead letters. */
async function onDatabase<Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result[]>,
): Promise<Result[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query("select to_regclass('dead_letters') is not null as consumes");
    return rows[0].consumes ? await work(client) : [];
  } finally {
    await client.end();
  }
}
