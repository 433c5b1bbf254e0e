/**
 * Publishes a service's outbox: rows that were written in the transaction of what they tell. The relay selects what is
 * unpublished, never a range of a sequence, so a number that commits late is not skipped; it marks after the
 * receiver's durable yes, so a crash in between publishes again and receivers drop the repeat by the event's id.
 */
import type { ServiceSchema } from "moleculer";
import type { Database } from "./database.mixin.ts";

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
          const { rows } = await (this.db as Database).query<OutboxLag>({
            text: `select count(*)::int as unpublished,
                     (extract(epoch from now() - min(created_at)) * 1000)::float8 as "oldestMs"
                   from outbox where published_at is null`,
          });
          return rows[0] as OutboxLag;
        },
      },
    },

    async started() {
      this.supervisor.loop({ name: "relay", intervalMs: INTERVAL_MS, tick: () => this.relay() });
    },

    methods: {
      async relay(): Promise<boolean> {
        const db: Database = this.db;
        const { rows } = await db.query<Omit<OutboxEvent, "time"> & { sequence: number; created_at: Date }>({
          name: "outbox-unpublished",
          text: `select sequence, id, type, version, key, payload, created_at from outbox
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
        await this.broker.call(receiver, { events });
        await db.query({
          name: "outbox-published",
          text: "update outbox set published_at = now() where sequence = any($1::bigint[])",
          values: [rows.map((row) => row.sequence)],
        });
        return false;
      },
    },
  };
}
