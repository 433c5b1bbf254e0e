/** What the database says of the mail to one user. */
import type pg from "pg";

export interface MailRow {
  event_id: string;
  /** As users see it. */
  status: string;
  failure: string | null;
  repeats: number;
  /** Of a mail that waits. */
  attempts: number | null;
  may_have_arrived: boolean | null;
  due: boolean | null;
  /** Until when somebody has it in hand. */
  until: Date | null;
}

export async function mailRowOf(db: pg.Client, userId: string): Promise<MailRow | undefined> {
  const { rows } = await db.query<MailRow>(
    `select n.event_id, coalesce(m.failure, n.failure) as failure, repeats, m.attempts, may_have_arrived,
       case when m.event_id is not null then 'pending' when status = 'mailed' then 'sent' else status end as status,
       m.due_at <= now() as due, c.until
     from notifications n left join mails m on m.event_id = n.event_id
       left join mail_claims c on n.event_id = any(c.event_ids)
     where user_id = $1`,
    [userId],
  );
  return rows[0];
}
