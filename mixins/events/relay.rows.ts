/**
 * All SQL of a relay to Kafka: the lease, the cursor up to which Kafka has acknowledged everything, and the events that
 * Kafka refused. The cursor is a row among those of the outbox's readers, for Kafka is one of them. It moves only from
 * where the mover found it, over what the mover has seen acknowledged.
 */
import type { Database, Queryable } from "../database.mixin.ts";
import type { PositionedEvent } from "./outbox.rows.ts";
import type { Topic } from "./topics.ts";

/** Among the readers; no service has this name. */
export const KAFKA = "kafka";

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

/** Undefined where an operator has forgotten it, and nobody has begun it since. */
export async function readCursor(db: Queryable): Promise<number | undefined> {
  const { rows } = await db.query<{ position: number }>({
    name: "relay-cursor",
    text: "select position from outbox_readers where consumer = $1",
    values: [KAFKA],
  });
  return rows[0]?.position;
}

/** Where the slowest of those is that have read the outbox itself, or before everything: Kafka needs no more than that. */
const LOWEST = "(select coalesce(min(position), 0) from outbox_readers where consumer <> $1)";

/**
 * Begins the cursor where there is none, whether or not Kafka can be reached. Where there is one it says that somebody
 * sends to Kafka: what is not sent is not deleted, however long Kafka is away.
 */
export async function keepCursor(db: Queryable): Promise<void> {
  await db.query({
    name: "relay-cursor-kept",
    text: `insert into outbox_readers (consumer, position) values ($1, ${LOWEST})
           on conflict (consumer) do update set asked_at = now()`,
    values: [KAFKA],
  });
}

/** Puts the cursor back to where it would begin; never forward, and nowhere if somebody has moved it since `from`. */
export async function rewindCursor(db: Queryable, from: number): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "relay-cursor-rewound",
    text: `update outbox_readers set position = ${LOWEST}
           where consumer = $1 and position = $2 and position > ${LOWEST}`,
    values: [KAFKA, from],
  });
  return rowCount === 1;
}

/** An event that Kafka will not have; the error says which one, and why. */
export interface Refused {
  topic: Topic;
  event: PositionedEvent;
  error: string;
}

/** Moves the cursor, and keeps what was refused on the way. Moves nothing where somebody has moved it since. */
export async function moveCursor(
  db: Database,
  from: number,
  to: number,
  refused: readonly Refused[],
): Promise<void> {
  const move = (tx: Queryable) =>
    tx.query({
      name: "relay-cursor-moved",
      text: "update outbox_readers set position = $3, asked_at = now() where consumer = $1 and position = $2",
      values: [KAFKA, from, to],
    });
  if (refused.length === 0) await move(db);
  else
    await db.transaction(async (tx) => {
      if ((await move(tx)).rowCount === 1) for (const one of refused) await keepRefused(tx, one);
    });
}

/** One that is refused again waits for an operator again. */
export async function keepRefused(tx: Queryable, { topic, event, error }: Refused): Promise<void> {
  const { position, ...body } = event;
  await tx.query({
    name: "refused-event",
    text: `insert into refused_events (id, topic, partition, position, body, error, attempts)
           values ($1, $2, 0, $3, $4, $5, 1)
           on conflict (id) do update set error = excluded.error, attempts = refused_events.attempts + 1,
             failed_at = now(), replay_at = null`,
    values: [event.id, topic, position, JSON.stringify(body), error],
  });
}

/** What operators want sent again. */
export async function refusedToReplay(db: Queryable, limit: number): Promise<PositionedEvent[]> {
  const { rows } = await db.query<{ position: number; body: string }>({
    name: "refused-to-replay",
    text: "select position, body from refused_events where replay_at is not null order by replay_at, position limit $1",
    values: [limit],
  });
  return rows.map(({ position, body }) => ({ ...JSON.parse(body), position }));
}

export async function removeRefused(db: Queryable, id: string): Promise<void> {
  await db.query({ name: "refused-sent", text: "delete from refused_events where id = $1", values: [id] });
}

export async function countRefused(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ n: number }>({
    name: "refused-counted",
    text: "select count(*)::int as n from (select from refused_events limit 10000) as refused",
  });
  return rows[0]?.n ?? 0;
}
