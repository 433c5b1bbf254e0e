/** SQL of what users are told: writing it, and reading one user's list. What becomes of the mail is in mail.repository.ts. */
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { NotificationStatus } from "./api.ts";
import type { Place } from "./notification.cursor.ts";
import type { Notification } from "./notification.ts";

/** One statement for the batch; the mail of each is pending then. Answers how many of the events were new. */
export async function insertNotifications(db: Queryable, batch: readonly Notification[]): Promise<number> {
  const { rowCount } = await db.query({
    name: "notification_insert",
    text: `insert into notifications (event_id, type, version, time, status, user_id, subject, text, html)
           select id, type, version, time, 'pending', user_id, subject, text, html
           from unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::uuid[],
                       $6::text[], $7::text[], $8::text[]) as n (id, type, version, time, user_id, subject, text, html)
           on conflict (event_id) do nothing`,
    values: [
      batch.map(({ event }) => event.id),
      batch.map(({ event }) => event.type),
      batch.map(({ event }) => event.version),
      batch.map(({ event }) => event.time),
      batch.map(({ userId }) => userId),
      batch.map(({ subject }) => subject),
      batch.map(({ text }) => text),
      batch.map(({ html }) => html),
    ],
  });
  return rowCount ?? 0;
}

export interface NotificationRow {
  id: string;
  type: string;
  subject: string;
  text: string;
  status: NotificationStatus;
  time: Date;
}

/** A user's notifications, newest first, after `place`. */
export async function listNotifications(
  db: Queryable,
  { userId, place, limit }: { userId: string; place: Place | undefined; limit: number },
): Promise<NotificationRow[]> {
  const columns = "event_id as id, type, subject, text, status, time";
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
