/**
 * All SQL of an outbox, which is a log: publishing gives a row its position, under a lock that is held until it is
 * visible, so positions become visible in their order, and whoever has read up to one has missed nothing below it. A
 * number of `sequence` that commits late gets a late position; nothing here remembers a range of a sequence.
 */
import type { ShopEvent } from "../../lib/event.ts";
import type { Queryable } from "../database.mixin.ts";

/** An event with its place in the order of publishing. */
export interface PositionedEvent extends ShopEvent {
  position: number;
}

interface EventRow {
  id: string;
  type: string;
  version: number;
  key: string;
  payload: Record<string, unknown>;
  created_at: Date;
  trace: string | null;
  position: number;
}

const eventOf = ({ created_at, trace, position, ...row }: EventRow): PositionedEvent => ({
  ...row,
  time: created_at.toISOString(),
  traceparent: trace,
  position,
});

/** Any number, the same for all replicas; 4711 is the migrations'. */
const POSITIONS_LOCK = 4712;

/**
 * How a statement that tells events publishes them itself. `now` or `later` is the query of a materialized CTE, and its
 * column `free` says whether `columns` have `values`. `now`: where nobody else is giving positions; it waits for nobody,
 * and what is left is the relay's. Its statement must be the last of its transaction, because nobody gets a position
 * before that has ended. Only for events that are the first of their key: they may come before those that are left.
 */
export const PUBLISHING = {
  now: `select pg_try_advisory_xact_lock(${POSITIONS_LOCK}) as free`,
  later: "select false as free",
  columns: "position, published_at",
  values: "case when free then nextval('outbox_position') end, case when free then now() end",
} as const;

/**
 * Publishes the lowest numbers that have no position. One that a rival is publishing keeps what the rival gave it.
 * Answers how many these were.
 */
export async function publishNext(db: Queryable, limit: number): Promise<number> {
  const { rowCount } = await db.query({
    name: "outbox-published",
    // Positions are drawn when the lock is had, which goes when the rows can be seen; and in the order of the numbers,
    // in which those of one key were committed. Rows are found again by where they lie: the planner, who cannot know how
    // many wait, would compare each with each. What a rival has published meanwhile lies elsewhere, and has a position.
    // (That is asked and not published_at, which would offer the planner another way.)
    text: `with locked as materialized (select pg_advisory_xact_lock(${POSITIONS_LOCK})),
           lowest as materialized (
             select place, nextval('outbox_position') as position
             from locked, (select ctid as place from outbox where published_at is null order by sequence limit $1) as l
           )
           update outbox set published_at = now(), position = lowest.position
           from lowest where outbox.ctid = lowest.place and outbox.position is null`,
    values: [limit],
  });
  return rowCount ?? 0;
}

/** Beyond it a page is cut: an event of a large order has a tenth of this, and a message of several MB delays others. */
const PAGE_BYTES_MAX = 2_000_000;
/** What a small event is reckoned with; to tell exactly takes as long as to read it. A compressed one is none. */
const SMALL_BYTES = 1_500;

/**
 * What was published after a position, in order; at most `limit`, and one at least where there is one. Row after row, so
 * that no more is read than the page may hold.
 */
export async function eventsAfter(db: Queryable, after: number, limit: number): Promise<PositionedEvent[]> {
  const next = (position: string): string =>
    `select id, type, version, key, payload, created_at, trace, position,
       case when pg_column_size(payload) < ${SMALL_BYTES} and pg_column_compression(payload) is null then ${SMALL_BYTES} else octet_length(payload::text) end as bytes
     from outbox where position > ${position} order by position limit 1`;
  const { rows } = await db.query<EventRow>({
    name: "outbox-after",
    text: `with recursive page as (
             (${next("$1")})
             union all
             select next.id, next.type, next.version, next.key, next.payload, next.created_at, next.trace, next.position,
               page.bytes + next.bytes
             from page, lateral (${next("page.position")}) as next
             where page.bytes + next.bytes <= ${PAGE_BYTES_MAX}
           )
           select id, type, version, key, payload, created_at, trace, position from page limit $2`,
    values: [after, limit],
  });
  return rows.map(eventOf);
}

/** How many, and how old the oldest of them is; 0 where there is none. */
export interface Lag {
  events: number;
  seconds: number;
}

/** Counted up to a limit, so that a scrape costs little however far behind somebody is. */
const COUNTED_MAX = 10_000;

const UNPUBLISHED = "select created_at from outbox where published_at is null order by sequence limit $1";
const above = (position: string): string =>
  `select created_at from outbox where position > ${position} order by position limit $1`;

/** What is not published. */
export const outboxLag = (db: Queryable): Promise<Lag> =>
  lagOf(db, { name: "outbox-lag", text: UNPUBLISHED, values: [COUNTED_MAX] });

/** What is not published, or above where a reader was when that was last written down. */
export const outboxLagOf = (db: Queryable, consumer: string): Promise<Lag> =>
  lagOf(db, {
    name: "outbox-lag-of",
    text: `(${UNPUBLISHED}) union all (${above("coalesce((select position from outbox_readers where consumer = $2), 0)")}) limit $1`,
    values: [COUNTED_MAX, consumer],
  });

/** What is published, and above a position. */
export const lagAfter = (db: Queryable, after: number): Promise<Lag> =>
  lagOf(db, { name: "outbox-lag-after", text: above("$2"), values: [COUNTED_MAX, after] });

async function lagOf(db: Queryable, which: { name: string; text: string; values: unknown[] }): Promise<Lag> {
  const { rows } = await db.query<Lag>({
    ...which,
    text: `select count(*)::int as events, coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as seconds
           from (${which.text}) as behind`,
  });
  const { events = 0, seconds = 0 } = rows[0] ?? {};
  return { events, seconds: Math.max(seconds, 0) };
}

/** Writes down how far a reader is, and that it still asks; it never is where it was before. */
export async function noteReader(db: Queryable, consumer: string, position: number): Promise<void> {
  await db.query({
    name: "outbox-reader",
    text: `insert into outbox_readers (consumer, position) values ($1, $2)
           on conflict (consumer) do update
             set position = greatest(outbox_readers.position, excluded.position), asked_at = now()`,
    values: [consumer, position],
  });
}

/** How far readers were when it was last written down. */
export async function knownReaders(db: Queryable): Promise<Map<string, number>> {
  const { rows } = await db.query<{ consumer: string; position: number }>({
    text: "select consumer, position from outbox_readers",
  });
  return new Map(rows.map(({ consumer, position }) => [consumer, position]));
}

/** Rows in one go: a delete of this many takes some milliseconds. */
const PRUNED_MAX = 1_000;

export interface Pruned {
  /** Whether there may be more. */
  more: boolean;
  /** Readers that nothing is kept for any more. */
  ignored: string[];
}

/**
 * Deletes events that were published so many days ago, the oldest first, and never one that a known reader has not
 * taken, unless that reader has not asked for as long.
 */
export async function pruneOutbox(tx: Queryable, days: number): Promise<Pruned> {
  const { rows: ignored } = await tx.query<{ consumer: string }>({
    text: "select consumer from outbox_readers where asked_at < now() - $1 * interval '1 day' order by 1",
    values: [days],
  });
  const { rowCount } = await tx.query({
    text: `with old as (
             select position from (select * from outbox where position is not null order by position limit $2) as lowest
             where created_at < now() - $1 * interval '1 day' and coalesce(position <= (
               select min(position) from outbox_readers where asked_at >= now() - $1 * interval '1 day'), true)
           ),
           marked as (
             update relay set pruned_before = greatest(pruned_before, now() - $1 * interval '1 day')
             where only_row and exists (select from old)
           )
           delete from outbox where position = any (array(select position from old))`,
    values: [days, PRUNED_MAX],
  });
  return { more: rowCount === PRUNED_MAX, ignored: ignored.map(({ consumer }) => consumer) };
}
