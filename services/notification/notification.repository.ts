/** All SQL of notification. */
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Place } from "./notification.cursor.ts";
import type { Notification } from "./notification.ts";

/** One statement for the batch. Answers the ids of the events that were new. */
export async function insertNotifications(
  db: Queryable,
  batch: readonly Notification[],
): Promise<Set<string>> {
  const letter = <Key extends "userId" | "subject" | "text">(key: Key) =>
    batch.map((item) => (item.status === "stored" ? item[key] : null));
  const { rows } = await db.query<{ id: string }>({
    name: "notification_insert",
    text: `insert into notifications
             (event_id, type, version, time, status, user_id, subject, text, ignored_event)
           select * from unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::text[], $6::uuid[],
                                $7::text[], $8::text[], $9::jsonb[])
           on conflict (event_id) do nothing
           returning event_id as id`,
    values: [
      batch.map(({ event }) => event.id),
      batch.map(({ event }) => event.type),
      batch.map(({ event }) => event.version),
      batch.map(({ event }) => event.time),
      batch.map(({ status }) => status),
      letter("userId"),
      letter("subject"),
      letter("text"),
      batch.map((item) => (item.status === "ignored" ? JSON.stringify(item.event) : null)),
    ],
  });
  return new Set(rows.map((row) => row.id));
}

export interface NotificationRow {
  id: string;
  type: string;
  subject: string;
  text: string;
  time: Date;
}

/** A user's notifications, newest first, after `place`. */
export async function listNotifications(
  db: Queryable,
  { userId, place, limit }: { userId: string; place: Place | undefined; limit: number },
): Promise<NotificationRow[]> {
  const columns = "event_id as id, type, subject, text, time";
  const { rows } = await db.query<NotificationRow>(
    place
      ? {
          name: "notification_page",
          text: `select ${columns} from notifications
                 where user_id = $1 and (time, event_id) < ($3, $4)
                 order by time desc, event_id desc limit $2`,
          values: [userId, limit, place.time, place.id],
        }
      : {
          name: "notification_first_page",
          text: `select ${columns} from notifications where user_id = $1
                 order by time desc, event_id desc limit $2`,
          values: [userId, limit],
        },
  );
  return rows;
}
