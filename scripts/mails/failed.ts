/** The mails of a shop that cannot be sent, read from notification's database, and handed there to its mailer once more. */
import { onDatabase, type Urls } from "../database.ts";

export interface FailedMail {
  /** The event's that it tells of; its Message-ID is made of it. */
  id: string;
  /** The event's type, such as `order.confirmed`. */
  type: string;
  userId: string;
  time: string;
  /** What the mail server said, or why it was not asked. */
  failure: string;
}

/** What became of a mail that was to be sent again. */
export interface Outcome {
  id: string;
  state: "sent" | "failed" | "waits";
  /** Of the last attempt; null where there was none, or it was sent. */
  failure: string | null;
}

/** Those of `ids`, or all; the oldest first. */
export function failedMails(urls: Urls, ids?: readonly string[]): Promise<FailedMail[]> {
  return onNotification(urls, async (query) => {
    const rows = await query<Omit<FailedMail, "time"> & { time: Date }>(
      `select event_id as id, type, user_id as "userId", time, failure from notifications
       where status = 'failed' and ($1::uuid[] is null or event_id = any($1::uuid[])) order by time, event_id`,
      [ids ?? null],
    );
    return rows.map((row) => ({ ...row, time: row.time.toISOString() }));
  });
}

/** Hands failed mails to the mailer as if they were new: due now, and with all attempts. Answers which. */
export function sendAgain(urls: Urls, ids: readonly string[]): Promise<string[]> {
  return onNotification(urls, async (query) => {
    const rows = await query<{ id: string }>(
      `with again as (
         update notifications set status = 'mailed', failure = null where status = 'failed' and event_id = any($1::uuid[])
         returning event_id
       )
       insert into mails (event_id) select event_id from again returning event_id as id`,
      [ids],
    );
    return rows.map(({ id }) => id);
  });
}

export function outcomesOf(urls: Urls, ids: readonly string[]): Promise<Outcome[]> {
  return onNotification(urls, (query) =>
    query<Outcome>(
      `select n.event_id as id, coalesce(m.failure, n.failure) as failure,
         case when m.event_id is not null then 'waits' when n.status = 'failed' then 'failed' else 'sent' end as state
       from notifications n left join mails m on m.event_id = n.event_id
       where n.event_id = any($1::uuid[]) order by n.time, n.event_id`,
      [ids],
    ),
  );
}

type Query = <Row>(text: string, values: unknown[]) => Promise<Row[]>;

function onNotification<Row>(urls: Urls, work: (query: Query) => Promise<Row[]>): Promise<Row[]> {
  const url = urls.notification;
  if (!url) throw new Error("notification has no database here");
  return onDatabase(url, "mails", (client) =>
    work(async (text, values) => (await client.query(text, values)).rows),
  );
}
