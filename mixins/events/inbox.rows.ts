/**
 * All SQL of a consumer: which events have had their effect (the inbox), how far each topic has been read, and what could
 * not be taken. What belongs to an effect is written in the effect's own transaction.
 */
import type { Queryable } from "../database.mixin.ts";
import type { Topic } from "./topics.ts";

/** Records these as taken. Answers the ids that had not been before. */
export async function takeEvents(tx: Queryable, ids: readonly string[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>({
    name: "inbox-taken",
    text: `insert into inbox (event_id) select distinct id from unnest($1::uuid[]) as e (id) order by id
           on conflict do nothing returning event_id as id`,
    values: [ids],
  });
  return new Set(rows.map((row) => row.id));
}

export async function readOffset(db: Queryable, topic: Topic): Promise<number> {
  const { rows } = await db.query<{ position: number }>({
    name: "event-offset",
    text: "select position from event_offsets where topic = $1",
    values: [topic],
  });
  return rows[0]?.position ?? 0;
}

/** Moves the offset forward; false where another replica has moved it as far already. */
export async function moveOffset(tx: Queryable, topic: Topic, position: number): Promise<boolean> {
  const { rowCount } = await tx.query({
    name: "event-offset-moved",
    text: `insert into event_offsets (topic, position) values ($1, $2)
           on conflict (topic) do update set position = excluded.position
           where event_offsets.position < excluded.position`,
    values: [topic, position],
  });
  return rowCount === 1;
}

export interface DeadLetter {
  id: string;
  topic: Topic;
  partition: number;
  position: number;
  body: string;
  error: string;
  stack: string | null;
  attempts: number;
}

/** One that fails again replaces what is known of it, and waits for an operator again. */
export async function keepDeadLetter(tx: Queryable, letter: DeadLetter): Promise<void> {
  const { id, topic, partition, position, body, error, stack, attempts } = letter;
  await tx.query({
    name: "dead-letter",
    text: `insert into dead_letters (id, topic, partition, position, body, error, stack, attempts)
           values ($1, $2, $3, $4, $5, $6, $7, $8)
           on conflict (id) do update set error = excluded.error, stack = excluded.stack,
             attempts = dead_letters.attempts + excluded.attempts, failed_at = now(), replay_at = null`,
    values: [id, topic, partition, position, body, error, stack, attempts],
  });
}

/** What operators want tried again. */
export async function lettersToReplay(db: Queryable, limit: number): Promise<DeadLetter[]> {
  const { rows } = await db.query<DeadLetter>({
    name: "dead-letters-to-replay",
    text: `select id, topic, partition, position, body, error, stack, attempts from dead_letters
           where replay_at is not null order by replay_at limit $1`,
    values: [limit],
  });
  return rows;
}

/** Takes a letter out, where it is still to be replayed: only one of several that try does. */
export async function removeDeadLetter(tx: Queryable, id: string): Promise<boolean> {
  const { rowCount } = await tx.query({
    name: "dead-letter-replayed",
    text: "delete from dead_letters where id = $1 and replay_at is not null",
    values: [id],
  });
  return rowCount === 1;
}

export async function countDeadLetters(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ n: number }>({
    name: "dead-letters-counted",
    text: "select count(*)::int as n from (select from dead_letters limit 10000) as letters",
  });
  return rows[0]?.n ?? 0;
}

const PRUNED_MAX = 1_000;

/** Forgets what was taken so many days ago. Answers true where there may be more. */
export async function pruneInbox(db: Queryable, days: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "inbox-pruned",
    text: `delete from inbox where event_id = any (array(
             select event_id from inbox where taken_at < now() - $1 * interval '1 day' order by taken_at limit $2))`,
    values: [days, PRUNED_MAX],
  });
  return rowCount === PRUNED_MAX;
}
