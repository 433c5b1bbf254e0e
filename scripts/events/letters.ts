/**
 * The dead letters of a shop, of all services that consume events, and the events that Kafka refused: read from the
 * databases of those that keep them, and marked there to be tried again, which the running service does.
 */
import type { DatabaseName } from "../../config/index.ts";
import { eventOf, kindOf } from "../../lib/event.ts";
import { onDatabase, type Urls } from "../database.ts";

/** What could not be taken by a consumer, and what could not be sent by a teller. Both tables have the same columns. */
const TABLES = { consumer: "dead_letters", teller: "refused_events" } as const;
type Keeper = keyof typeof TABLES;
const KEEPERS = Object.keys(TABLES) as Keeper[];

export interface Letter {
  id: string;
  /** The service that could not take it, or send it. */
  service: DatabaseName;
  keeper: Keeper;
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

/** Those of `ids`, or all; the oldest first. */
export async function lettersOf(urls: Urls, ids?: readonly string[]): Promise<Letter[]> {
  const found = await Promise.all(
    everywhere(urls).map(({ service, url, keeper }) =>
      onDatabase(url, TABLES[keeper], async (client) => {
        const { rows } = await client.query(
          `select id, topic, partition, position::int8, body, error, stack, attempts, failed_at, replay_at is not null as replaying
           from ${TABLES[keeper]} ${ids ? "where id = any($1::uuid[])" : ""} order by failed_at`,
          ids ? [ids] : [],
        );
        return rows.map(
          ({ failed_at, position, ...row }): Letter => ({
            ...row,
            service,
            keeper,
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
  for (const { service, url, keeper } of everywhere(urls)) {
    const these = letters.filter((letter) => letter.service === service && letter.keeper === keeper);
    if (these.length === 0) continue;
    await onDatabase(url, TABLES[keeper], async (client) => {
      const ids = these.map(({ id }) => id);
      await client.query(`update ${TABLES[keeper]} set replay_at = now() where id = any($1::uuid[])`, [ids]);
      return [];
    });
  }
}

const everywhere = (urls: Urls): { service: DatabaseName; url: string; keeper: Keeper }[] =>
  Object.entries(urls).flatMap(([service, url]) =>
    KEEPERS.map((keeper) => ({ service: service as DatabaseName, url, keeper })),
  );

/** `order.confirmed.v1 01a2...`, or that it is none. */
export function nameOf({ body }: Letter): string {
  const event = eventOf(body);
  return event ? `${kindOf(event)} ${event.key}` : "no event";
}
