/**
 * SQL of the mail that is to be sent. A mail is claimed before it is sent, durably and by one process; the claim lapses
 * unless it is held on to, so that a dead process keeps no mail. Rows are locked in order of their ids, or skipped.
 */
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { MailState } from "./api.ts";

export interface Claim {
  eventId: string;
  userId: string;
  subject: string;
  text: string;
  html: string;
  time: Date;
  /** This one included; those that nothing about the mail ended do not count. */
  attempts: number;
  /** It may have arrived before: whoever had it was killed, or lost the answer. */
  isRepeat: boolean;
}

/** Takes up to `limit` mails that are due, none of `held`, until `claimMs` from now. */
export async function claimMails(
  db: Queryable,
  { limit, claimMs, held }: { limit: number; claimMs: number; held: readonly string[] },
): Promise<Claim[]> {
  const { rows } = await db.query<Claim>({
    name: "mail_claim",
    text: `with due as (
             select event_id, claimed from notifications
             where status = 'pending' and due_at <= now() and event_id <> all($3::uuid[])
             order by due_at limit $1 for update skip locked
           )
           update notifications n
           set claimed = true, due_at = now() + $2 * interval '1 ms', attempts = n.attempts + 1,
             repeats = n.repeats + due.claimed::integer
           from due where n.event_id = due.event_id
           returning n.event_id as "eventId", n.user_id as "userId", n.subject, n.text,
             coalesce(n.html, '') as html, n.time, n.attempts, due.claimed as "isRepeat"`,
    values: [limit, claimMs, held],
  });
  return rows;
}

/** Holds on to claims. */
export async function extendClaims(db: Queryable, ids: readonly string[], claimMs: number): Promise<void> {
  await db.query({
    name: "mail_claim_extend",
    text: `update notifications set due_at = now() + $2 * interval '1 ms'
           where event_id = any($1::uuid[]) and status = 'pending' and claimed`,
    values: [ids.toSorted(), claimMs],
  });
}

/** What became of a claimed mail. `retry`: somebody takes it again, after `pauseMs`. */
export type Result = { eventId: string } & (
  | { status: "sent" }
  | { status: "failed"; failure: string }
  | { status: "retry"; failure: string; pauseMs: number; mayHaveArrived: boolean }
);

export async function recordResults(db: Queryable, batch: readonly Result[]): Promise<void> {
  const results = batch.toSorted((a, b) => (a.eventId < b.eventId ? -1 : 1));
  await db.query({
    name: "mail_record",
    text: `update notifications n
           set status = r.status, failure = r.failure, claimed = r.claimed,
             due_at = now() + r.pause_ms * interval '1 ms',
             sent_at = case when r.status = 'sent' then now() end,
             html = case when r.status = 'pending' then n.html end,
             attempts = n.attempts - (r.status = 'pending' and r.pause_ms = 0)::integer
           from unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::float8[])
             as r (event_id, status, failure, claimed, pause_ms)
           where n.event_id = r.event_id and n.status = 'pending'`,
    values: [
      results.map(({ eventId }) => eventId),
      results.map(({ status }) => (status === "retry" ? "pending" : status)),
      results.map((result) => ("failure" in result ? result.failure : null)),
      results.map((result) => result.status === "retry" && result.mayHaveArrived),
      results.map((result) => (result.status === "retry" ? result.pauseMs : 0)),
    ],
  });
}

/** Counted up to a limit, so that a scrape costs little however much waits. */
const COUNTED_MAX = 10_000;

export async function readMailState(db: Queryable): Promise<MailState> {
  const { rows } = await db.query<MailState>({
    name: "mail_state",
    text: `select count(*)::integer as pending,
             (extract(epoch from now() - min(received_at)) * 1000)::float8 as "oldestMs",
             (select count(*) from (select from notifications where status = 'failed' limit $1) f)::integer as failed,
             (select coalesce(sum(repeats), 0) from (select repeats from notifications where repeats > 0 limit $1) r)::integer
               as repeats
           from (select received_at from notifications where status = 'pending' order by due_at limit $1) w`,
    values: [COUNTED_MAX],
  });
  return rows[0] as MailState;
}
