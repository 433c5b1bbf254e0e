/**
 * Publishes a service's outbox: rows that were written in the transaction of what they tell. The relay selects what is
 * unpublished, never a range of a sequence, so a number that commits late is not skipped; it marks after the
 * receiver's durable yes, so a crash in between publishes again and receivers drop the repeat by the event's id.
 */
import type { ServiceSchema } from "moleculer";
import type { Database } from "./database.mixin.ts";
import { measure, type Reading } from "./measures.ts";
import { tracesOf } from "./traces.ts";

/** Paced, so that mail never competes with checkouts for the disk: at most 250 events every quarter second. */
const INTERVAL_MS = 250;
const BATCH_MAX = 250;

export interface OutboxEvent {
  id: string;
  type: string;
  version: number;
  key: string;
  payload: Record<string, unknown>;
  time: string;
}

export interface OutboxLag {
  unpublished: number;
  /** Age of the oldest; null where there is none. */
  oldestMs: number | null;
}

interface OutboxRow extends Omit<OutboxEvent, "time"> {
  sequence: number;
  created_at: Date;
  trace: string | null;
}

/** `receiver`: the action that takes `{ events }` and resolves when they are durable there. Needs `this.supervisor`. */
export function outboxMixin(receiver: string): Partial<ServiceSchema> {
  return {
    actions: {
      // For operators.
      outboxLag: {
        visibility: "public",
        idempotent: true,
        params: {},
        async handler(): Promise<OutboxLag> {
          const { events, seconds } = await lag(this.db);
          return { unpublished: events, oldestMs: events > 0 ? seconds * 1_000 : null };
        },
      },
    },

    created() {
      measure(this, async () => (this.db ? readings(await lag(this.db)) : []));
    },

    async started() {
      this.supervisor.loop({ name: "relay", intervalMs: INTERVAL_MS, tick: () => this.relay() });
    },

    methods: {
      async relay(): Promise<boolean> {
        const db: Database = this.db;
        const { rows } = await db.query<OutboxRow>({
          name: "outbox-unpublished",
          text: `select sequence, id, type, version, key, payload, created_at, trace from outbox
                 where published_at is null order by sequence limit $1`,
          values: [BATCH_MAX],
        });
        if (rows.length === 0) return false;
        const events: OutboxEvent[] = rows.map(({ id, type, version, key, payload, created_at }) => ({
          id,
          type,
          version,
          key,
          payload,
          time: created_at.toISOString(),
        }));
        await this.publish(events, rows);
        await db.query({
          name: "outbox-published",
          text: "update outbox set published_at = now() where sequence = any($1::bigint[])",
          values: [rows.map((row) => row.sequence)],
        });
        return false;
      },

      publish(events: OutboxEvent[], rows: OutboxRow[]): Promise<unknown> {
        const traces = tracesOf(this.broker);
        if (!traces) return this.broker.call(receiver, { events });
        for (const { id, trace } of rows) traces.resume(this.name, id, trace);
        const ids = rows.map(({ id }) => id);
        return traces.batch("publish", this.name, ids, (options) =>
          this.broker.call(receiver, { events }, options),
        );
      },
    },
  };
}

/** Counted up to a limit, so that a scrape costs little however far behind the relay is. */
const COUNTED_MAX = 10_000;

async function lag(db: Database): Promise<{ events: number; seconds: number }> {
  const { rows } = await db.query<{ events: number; seconds: number }>({
    name: "outbox-lag",
    text: `select count(*)::int as events, coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as seconds
           from (select created_at from outbox where published_at is null order by sequence limit $1) as unpublished`,
    values: [COUNTED_MAX],
  });
  const { events = 0, seconds = 0 } = rows[0] ?? {};
  return { events, seconds: Math.max(seconds, 0) };
}

const readings = ({ events, seconds }: { events: number; seconds: number }): Reading[] => [
  ["shop_outbox_unpublished_events", events],
  ["shop_outbox_oldest_seconds", seconds],
];
