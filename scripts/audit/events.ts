/**
 * The second half of I5: what became of order's events at notification. An event that notification has passed had its one
 * effect or is a dead letter, because its offset moves in the transaction of the effects; an effect belongs to an event
 * that exists, or has been deleted with age. Kafka keeps the offsets to itself: there an event that is published has been
 * passed only if the caller knows that nobody lags (`settled`).
 */
import { eventOf } from "../../lib/event.ts";
import { mergeById } from "./merge.ts";
import { once } from "./records.ts";
import type { Snapshot } from "./snapshot.ts";

interface EventRow {
  id: string;
  published: boolean;
  position: string | null;
}

interface EffectRow {
  id: string;
  effects: number;
  time: Date;
}

export type EventSnapshots = Record<"order" | "notification", Snapshot>;

const events = (where: string): string =>
  `select id, published_at is not null as published, position from outbox ${where} order by id`;
const taken = (where: string): string => `select event_id as id from inbox ${where} order by event_id`;
// Of order's events only: others have outboxes of their own.
const effects = (where: string): string =>
  `select event_id as id, count(*)::int as effects, max(time) as time from notifications
   where type like 'order.%' ${where} group by event_id order by event_id`;

/** Visits every event, or those of `ids`; `fault` is undefined where all is well. */
export async function readEvents(
  { order, notification }: EventSnapshots,
  visit: (eventId: string, fault: string | undefined) => void,
  { ids, settled = false }: { ids?: readonly string[]; settled?: boolean } = {},
): Promise<void> {
  const [relay] = await order.rows<{ pruned_before: Date | number }>("select pruned_before from relay");
  const [offset] = await notification.rows<{ position: string }>(
    "select position from event_offsets where topic = 'orders'",
  );
  const letters = await notification.rows<{ body: string }>("select body from dead_letters");
  const dead = new Set(letters.map(({ body }) => eventOf(body)?.id));
  const passed = ({ published, position }: EventRow) =>
    published &&
    (settled ||
      (position !== null && Number(position) > 0 && Number(position) <= Number(offset?.position ?? 0)));
  const faultOf = (id: string, event?: EventRow, isTaken?: object, effect?: EffectRow) => {
    if (!event && effect && effect.time.getTime() >= Number(relay?.pruned_before))
      return `notification took the event ${id}, which order never wrote`;
    if (event && passed(event) && !isTaken && !dead.has(id))
      return `event ${id} was passed, and notification has not taken it`;
    // A dead letter is in the inbox, too, so that it is taken by nothing but its replay.
    if (event && isTaken && !effect && !dead.has(id))
      return `event ${id} had no effect, and notification has it as taken`;
    if (effect && effect.effects > 1) return `event ${id} had ${effect.effects} effects`;
    return undefined;
  };
  await mergeById<{ event: EventRow; taken: { id: string }; effect: EffectRow }>(
    ids
      ? {
          event: once(order.rows<EventRow>(events("where id = any($1::uuid[])"), [ids])),
          taken: once(notification.rows(taken("where event_id = any($1::uuid[])"), [ids])),
          effect: once(notification.rows<EffectRow>(effects("and event_id = any($1::uuid[])"), [ids])),
        }
      : {
          event: order.stream<EventRow>(events("")),
          taken: notification.stream(taken("")),
          effect: notification.stream<EffectRow>(effects("")),
        },
    (id, { event, taken, effect }) => {
      // What others tell has no row here.
      if (event || effect) visit(id, faultOf(id, event, taken, effect));
    },
  );
}
