/**
 * All SQL of an outbox. Publishing gives a row its position: under a lock that is held until it is visible, so positions
 * become visible in their order, and whoever has read up to one has missed nothing below it. A number of `sequence`
 * that commits late gets a late position; nothing here remembers a range of a sequence.
 */
import type { ShopEvent } from "../../lib/event.ts";
import type { Queryable } from "../database.mixin.ts";

/** An event with its place in the order of publishing. */
export interface PositionedEvent extends ShopEvent {
  position: number;
}

interface EventRow {
  sequence: number;
  id: string;
  type: string;
  version: number;
  key: string;
  payload: Record<string, unknown>;
  created_at: Date;
  trace: string | null;
  position: number;
}

const COLUMNS = "sequence, id, type, version, key, payload, created_at, trace, position";

const eventOf = ({ created_at, trace, sequence: _, position: __, ...row }: EventRow): ShopEvent => ({
  ...row,
  time: created_at.toISOString(),
  traceparent: trace,
});

/** Numbers of what nobody has been told of yet, the lowest first. */
export async function unpublished(db: Queryable, limit: number): Promise<number[]> {
  const { rows } = await db.query<{ sequence: number }>({
    name: "outbox-unpublished",
    text: "select sequence from outbox where published_at is null order by sequence limit $1",
    values: [limit],
  });
  return rows.map((row) => row.sequence);
}

/** The same with the events themselves, by their numbers. */
export async function unpublishedEvents(db: Queryable, limit: number): Promise<Map<number, ShopEvent>> {
  const { rows } = await db.query<EventRow>({
    name: "outbox-unpublished-events",
    text: `select ${COLUMNS} from outbox where published_at is null order by sequence limit $1`,
    values: [limit],
  });
  return new Map(rows.map((row) => [row.sequence, eventOf(row)]));
}

/** Any number, the same for all replicas; 4711 is the migrations'. */
const POSITIONS_LOCK = 4712;

/** Marks these as published. A rival that marks the same finds nothing left to mark. */
export async function markPublished(db: Queryable, sequences: readonly number[]): Promise<void> {
  await db.query({
    name: "outbox-published",
    // The lock is had before the first row is looked for, and goes when the rows can be seen. An index scan meets them
    // in the order of their numbers, in which those of one key were committed.
    text: `update outbox set published_at = now(), position = nextval('outbox_position')
           where (select pg_advisory_xact_lock(${POSITIONS_LOCK})) is not null
             and sequence = any($1::bigint[]) and published_at is null`,
    values: [sequences],
  });
}

/** Beyond it a page is cut: an event of a large order has a tenth of this, and a message of several MB delays others. */
const PAGE_BYTES_MAX = 2_000_000;

/** What was published after a position, in order; at most `limit`, and one at least where there is one. */
export async function eventsAfter(db: Queryable, after: number, limit: number): Promise<PositionedEvent[]> {
  const { rows } = await db.query<EventRow & { bytes: number }>({
    name: "outbox-after",
    text: `select ${COLUMNS}, octet_length(payload::text) as bytes from outbox
           where position > $1 and position is not null order by position limit $2`,
    values: [after, limit],
  });
  const page: PositionedEvent[] = [];
  let bytes = 0;
  for (const { bytes: size, ...row } of rows) {
    bytes += size;
    if (page.length > 0 && bytes > PAGE_BYTES_MAX) break;
    page.push({ ...eventOf(row), position: row.position });
  }
  return page;
}

/** How many, and how old the oldest of them is; 0 where there is none. */
export interface Lag {
  events: number;
  seconds: number;
}

/** Counted up to a limit, so that a scrape costs little however far behind somebody is. */
const COUNTED_MAX = 10_000;

/** What is not published. */
export const outboxLag = (db: Queryable): Promise<Lag> =>
  lagOf(db, {
    name: "outbox-lag",
    text: lagText("published_at is null order by sequence limit $1"),
    values: [COUNTED_MAX],
  });

/** What is published, and above a position. */
export const lagAfter = (db: Queryable, after: number): Promise<Lag> =>
  lagOf(db, {
    name: "outbox-lag-after",
    text: lagText("position > $2 and position is not null order by position limit $1"),
    values: [COUNTED_MAX, after],
  });

/** How far consumers were when it was last written down. */
export async function knownReaders(db: Queryable): Promise<Map<string, number>> {
  const { rows } = await db.query<{ consumer: string; position: number }>({
    text: "select consumer, position from outbox_readers",
  });
  return new Map(rows.map(({ consumer, position }) => [consumer, position]));
}

const lagText = (which: string): string =>
  `select count(*)::int as events, coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as seconds
   from (select created_at from outbox where ${which}) as behind`;

async function lagOf(db: Queryable, statement: Parameters<Queryable["query"]>[0]): Promise<Lag> {
  const { events = 0, seconds = 0 } = (await db.query<Lag>(statement)).rows[0] ?? {};
  return { events, seconds: Math.max(seconds, 0) };
}

/** Makes `holder` the relay that publishes, for so long; false where another one is. */
export async function takeLease(db: Queryable, holder: string, seconds: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "relay-lease",
    text: `update relay set holder = $1, held_until = now() + $2 * interval '1 second'
           where only_row and (holder = $1 or held_until < now())`,
    values: [holder, seconds],
  });
  return rowCount === 1;
}

/** Lets another relay begin at once. */
export async function releaseLease(db: Queryable, holder: string): Promise<void> {
  await db.query({
    name: "relay-release",
    text: "update relay set held_until = '-infinity' where only_row and holder = $1",
    values: [holder],
  });
}

/** Rows in one go: a delete of this many takes some milliseconds. */
const PRUNED_MAX = 1_000;

/**
 * Deletes events that were published so many days ago, the oldest first, and never one that a known reader has not
 * taken. Answers true where there may be more. `readers`: what consumers have asked for since the last time.
 */
export async function pruneOutbox(
  tx: Queryable,
  days: number,
  readers: ReadonlyMap<string, number>,
): Promise<boolean> {
  await tx.query({
    text: `insert into outbox_readers (consumer, position)
           select * from unnest($1::text[], $2::bigint[]) as r (consumer, position) order by 1
           on conflict (consumer) do update set position = greatest(outbox_readers.position, excluded.position)`,
    values: [[...readers.keys()], [...readers.values()]],
  });
  const { rowCount } = await tx.query({
    text: `with old as (
             select sequence from (select * from outbox order by sequence limit $2) as lowest
             where published_at is not null and created_at < now() - $1 * interval '1 day'
               and coalesce(position <= (select min(position) from outbox_readers), true)
           ),
           marked as (
             update relay set pruned_before = greatest(pruned_before, now() - $1 * interval '1 day')
             where only_row and exists (select from old)
           )
           delete from outbox where sequence = any (array(select sequence from old))`,
    values: [days, PRUNED_MAX],
  });
  return rowCount === PRUNED_MAX;
}
