/**
 * The second half of I5: what notification made of order's events. A published event has its one effect, because order
 * marks an event as published after notification's durable yes; an effect belongs to an event that exists.
 */
import { mergeById } from "./merge.ts";
import { once } from "./records.ts";
import type { Snapshot } from "./snapshot.ts";

interface EventRow {
  id: string;
  published: boolean;
}

interface EffectRow {
  id: string;
  effects: number;
}

export type EventSnapshots = Record<"order" | "notification", Snapshot>;

const events = (where: string): string =>
  `select id, published_at is not null as published from outbox ${where} order by id`;
// Of order's events only: others have outboxes of their own.
const effects = (where: string): string =>
  `select event_id as id, count(*)::int as effects from notifications
   where type like 'order.%' ${where} group by event_id order by event_id`;

/** Visits every event, or those of `ids`; `fault` is undefined where all is well. */
export async function readEvents(
  { order, notification }: EventSnapshots,
  visit: (eventId: string, fault: string | undefined) => void,
  ids?: readonly string[],
): Promise<void> {
  await mergeById<{ event: EventRow; effect: EffectRow }>(
    ids
      ? {
          event: once(order.rows<EventRow>(events("where id = any($1::uuid[])"), [ids])),
          effect: once(notification.rows<EffectRow>(effects("and event_id = any($1::uuid[])"), [ids])),
        }
      : { event: order.stream<EventRow>(events("")), effect: notification.stream<EffectRow>(effects("")) },
    (eventId, { event, effect }) => visit(eventId, faultOf(eventId, event, effect)),
  );
}

function faultOf(id: string, event?: EventRow, effect?: EffectRow): string | undefined {
  if (!event) return `notification took the event ${id}, which order never wrote`;
  if (event.published && !effect) return `event ${id} is published, and notification has not taken it`;
  if (effect && effect.effects > 1) return `event ${id} had ${effect.effects} effects`;
  return undefined;
}
