/**
 * SQL of what users are told: writing it, and reading one user's list. What becomes of the mail is in mail.repository.ts;
 * it is pending for as long as it has a row in `mails`.
 */
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { NotificationStatus } from "./api.ts";
import type { Place } from "./notification.cursor.ts";
import type { Notification, Told } from "./notification.ts";

/** One statement for the batch; the mail of each is to be sent then. Answers how many of the events were new. */
export async function insertNotifications(db: Queryable, batch: readonly Notification[]): Promise<number> {
  const { rowCount } = await db.query({
    name: "notification_insert",
    text: `with told as (
             insert into notifications (event_id, type, version, time, status, user_id, content)
             select id, type, version, time, 'mailed', user_id, content
             from unnest($1::uuid[], $2::text[], $3::integer[], $4::timestamptz[], $5::uuid[], $6::json[])
               as n (id, type, version, time, user_id, content)
             on conflict (event_id) do nothing returning event_id
           )
           insert into mails (event_id) select event_id from told`,
    values: [
      batch.map(({ event }) => event.id),
      batch.map(({ event }) => event.type),
      batch.map(({ event }) => event.version),
      batch.map(({ event }) => event.time),
      batch.map(({ userId }) => userId),
      batch.map(({ content }) => JSON.stringify(content)),
    ],
  });
  return rowCount ?? 0;
}

export interface NotificationRow extends Told {
  id: string;
  status: NotificationStatus;
  time: Date;
}

const COLUMNS = `n.event_id as id, n.type, n.version, n.content, n.subject, n.text, n.time,
  case when m.event_id is not null then 'pending' when n.status = 'mailed' then 'sent' else n.status end as status`;
const FROM = "notifications n left join mails m on m.event_id = n.event_id";

/** A user's notifications, newest first, after `place`. */
export async function listNotifications(
  db: Queryable,
  { userId, place, limit }: { userId: string; place: Place | undefined; limit: number },
): Promise<NotificationRow[]> {
  const { rows } = await db.query<NotificationRow>(
    place
      ? {
          name: "notification_page",
          text: `select ${COLUMNS} from ${FROM}
                 where n.user_id = $1 and (n.time, n.event_id) < ($3, $4)
                 order by n.time desc, n.event_id desc limit $2`,
          values: [userId, limit, place.time, place.id],
        }
      : {
          name: "notification_first_page",
          text: `select ${COLUMNS} from ${FROM} where n.user_id = $1
                 order by n.time desc, n.event_id desc limit $2`,
          values: [userId, limit],
        },
  );
  return rows;
}
