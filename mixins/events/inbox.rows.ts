/**
 * All SQL of a consumer: which events have had their effect (the inbox), how far each topic has been read, and what could
 * not be taken. What belongs to an effect is written in the effect's own transaction.
 */
import type { Queryable } from "../database.mixin.ts";
import type { DeadLetter } from "./dead.letter.ts";
import type { Topic } from "./topics.ts";

/** How long what follows in a transaction may take. */
interface Limits {
  statementMs: number;
  allMs: number;
}

/** Records these as taken. Answers the ids that had not been before. */
export async function takeEvents(
  tx: Queryable,
  ids: readonly string[],
  { statementMs, allMs }: Limits,
): Promise<Set<string>> {
  const { rows } = await tx.query<{ fresh: string[] | null }>({
    name: "inbox-taken",
    // The limits hold from the end of this statement on, which waits for rivals that take the same. The session's own
    // limit on a transaction runs already, and PostgreSQL counts anew only after it was switched off.
    text: `with taken as (
             insert into inbox (event_id) select distinct id from unnest($1::uuid[]) as e (id) order by id
             on conflict do nothing returning event_id
           )
           select array_agg(event_id) as fresh, set_config('statement_timeout', $2, true),
             set_config('transaction_timeout', '0', true), set_config('transaction_timeout', $3, true) from taken`,
    values: [ids, String(statementMs), String(allMs)],
  });
  return new Set(rows[0]?.fresh ?? []);
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

/** False where it was kept before. */
export async function keepDeadLetter(tx: Queryable, letter: DeadLetter): Promise<boolean> {
  const { id, topic, partition, position, body, error, stack, attempts } = letter;
  const { rowCount } = await tx.query({
    name: "dead-letter",
    text: `insert into dead_letters (id, topic, partition, position, body, error, stack, attempts)
           values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing`,
    values: [id, topic, partition, position, body, error, stack, attempts],
  });
  return rowCount === 1;
}

/** One that has failed again waits for an operator again. False where it is gone, or nobody waits for it. */
export async function failDeadLetter(
  db: Queryable,
  { id, error, stack, attempts }: DeadLetter,
): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "dead-letter-failed",
    text: `update dead_letters set error = $2, stack = $3, attempts = attempts + $4, failed_at = now(), replay_at = null
           where id = $1 and replay_at is not null`,
    values: [id, error, stack, attempts],
  });
  return rowCount === 1;
}

/** What operators want tried again: as they asked, and what they asked for together in the order in which it came. */
export async function lettersToReplay(db: Queryable, limit: number): Promise<DeadLetter[]> {
  const { rows } = await db.query<DeadLetter>({
    name: "dead-letters-to-replay",
    text: `select id, topic, partition, position, body, error, stack, attempts from dead_letters
           where replay_at is not null order by replay_at, topic, partition, position limit $1`,
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

/** Looked through in one go, at 8 kB: less than 20,000 rows, whose deletion takes a fraction of a second. */
const PRUNED_BLOCKS = 100;

/**
 * Forgets what was taken so many days ago, in one stretch of the table: an index by age would cost each event more than
 * all looking costs. Answers where the next stretch begins, 0 where this was the last.
 */
export async function pruneInbox(db: Queryable, days: number, fromBlock: number): Promise<number> {
  const toBlock = fromBlock + PRUNED_BLOCKS;
  const { rows } = await db.query<{ has_more: boolean }>({
    name: "inbox-pruned",
    text: `with old as (
             delete from inbox where ctid >= format('(%s,0)', $1::int8)::tid and ctid < format('(%s,0)', $2::int8)::tid
               and taken_at < now() - $3 * interval '1 day'
           )
           select pg_relation_size('inbox') > $2::int8 * current_setting('block_size')::int8 as has_more`,
    values: [fromBlock, toBlock, days],
  });
  return rows[0]?.has_more ? toBlock : 0;
}
