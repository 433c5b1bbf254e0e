/**
 * SQL of the mail that is to be sent. Mails are taken up under a claim, one durable row for all of them, which lapses
 * unless it is extended; what became of a mail is recorded only for the owner of its claim. That a mail was sent is
 * recorded whoever says so: it is true. Claims are locked before mails.
 */
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import type { MailState } from "./api.ts";
import type { Told } from "./notification.ts";

/** Of the database, for those who take up mail: one after the other, each seeing the claim of the one before. */
const CLAIMS_LOCK = 4713;

export interface ClaimedMail extends Told {
  eventId: string;
  userId: string;
  time: Date;
  /** This one included; those that nothing about the mail ended do not count. */
  attempts: number;
  /** It may have arrived before: whoever had it was killed, or lost the answer. */
  isRepeat: boolean;
}

/** Takes up to `limit` mails that are due and in nobody's hand, until `claimMs` from now, and counts those that repeat. */
export function claimMails(
  db: Database,
  { claimId, limit, claimMs }: { claimId: string; limit: number; claimMs: number },
): Promise<ClaimedMail[]> {
  return db.transaction(async (tx) => {
    // A statement of its own: the next one sees what was there when the lock was free.
    await tx.query({ name: "mail_claim_lock", text: `select pg_advisory_xact_lock(${CLAIMS_LOCK})` });
    const { rows } = await tx.query<ClaimedMail>({
      name: "mail_claim",
      text: `with due as (
               select event_id, attempts, may_have_arrived from mails
               where due_at <= now() and event_id not in (select unnest(event_ids) from mail_claims)
               order by due_at limit $2
             ), claim as (
               insert into mail_claims (id, event_ids, until)
               select $1, array_agg(event_id), now() + $3 * interval '1 ms' from due having count(*) > 0
             ), taken as (
               update mails m set may_have_arrived = false from due where m.event_id = due.event_id and due.may_have_arrived
             ), counted as (
               update notifications n set repeats = n.repeats + 1 from due
               where n.event_id = due.event_id and due.may_have_arrived
             )
             select n.event_id as "eventId", n.user_id as "userId", n.type, n.version, n.content, n.subject, n.text, n.html,
               n.time, due.attempts + 1 as attempts, due.may_have_arrived as "isRepeat"
             from due join notifications n on n.event_id = due.event_id`,
      values: [claimId, limit, claimMs],
    });
    return rows;
  });
}

/** Holds on to claims, also to those that have lapsed and were not taken over. Answers those that are still there. */
export async function extendClaims(
  db: Queryable,
  claimIds: readonly string[],
  claimMs: number,
): Promise<Set<string>> {
  const { rows } = await db.query<{ id: string }>({
    name: "mail_claim_extend",
    text: `update mail_claims set until = now() + $2 * interval '1 ms' where id = any($1::uuid[]) returning id`,
    values: [claimIds.toSorted(), claimMs],
  });
  return new Set(rows.map(({ id }) => id));
}

/**
 * Ends claims that have lapsed. What they held may have arrived, and is due. Answers how many claims there were. One that
 * its owner has under its hands at this moment is left to it.
 */
export async function takeOverClaims(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ claims: number }>({
    name: "mail_claim_take_over",
    text: `with lapsed as (
             delete from mail_claims
             where id in (select id from mail_claims where until < now() order by id for update skip locked)
             returning event_ids
           ), freed as (
             update mails m set may_have_arrived = true, due_at = now(), attempts = m.attempts + 1
             from (select unnest(event_ids) as event_id from lapsed) l where m.event_id = l.event_id
           )
           select count(*)::integer as claims from lapsed`,
  });
  return rows[0]?.claims ?? 0;
}

/** What became of a claimed mail. `retry`: somebody takes it again, after `pauseMs`. */
export type Result = { eventId: string; claimId: string } & (
  | { status: "sent" }
  | { status: "failed"; failure: string }
  | { status: "retry"; failure: string; pauseMs: number; mayHaveArrived: boolean }
);

/**
 * Records results; `finished` are the claims that end with them. Answers the mails that were not under their claim any
 * more: of these only `sent` is recorded. So a record whose answer was lost can be repeated.
 */
export async function recordResults(
  db: Queryable,
  batch: readonly Result[],
  finished: readonly string[],
): Promise<Set<string>> {
  const results = batch.toSorted((a, b) => (a.eventId < b.eventId ? -1 : 1));
  const claimIds = [...new Set(batch.map(({ claimId }) => claimId))].sort();
  const { rows } = await db.query<{ eventId: string }>({
    name: "mail_record",
    text: `with ours as (
             select id, event_ids from mail_claims where id = any($6::uuid[]) order by id for update
           ), told as (
             select r.*, ours.id is not null as is_ours
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::boolean[], $5::float8[], $8::text[])
               as r (event_id, claim_id, failure, may_have_arrived, pause_ms, status)
             left join ours on ours.id = r.claim_id and r.event_id = any(ours.event_ids)
           ), done as (
             delete from mails m using told
             where m.event_id = told.event_id and (status = 'sent' or status = 'failed' and is_ours)
             returning told.*
           ), failed as (
             update notifications n set status = 'failed', failure = done.failure from done
             where n.event_id = done.event_id and done.status = 'failed'
           ), waiting as (
             update mails m
             set failure = told.failure, may_have_arrived = told.may_have_arrived,
               due_at = now() + pause_ms * interval '1 ms', attempts = m.attempts + (pause_ms > 0)::integer
             from told where m.event_id = told.event_id and told.status = 'retry' and is_ours
           ), let_go as (
             update mail_claims c
             set event_ids = array(select unnest(c.event_ids) except select event_id from told where status in ('retry', 'failed'))
             where id in (select claim_id from told where status in ('retry', 'failed') and is_ours) and id <> all($7::uuid[])
           ), ended as (
             delete from mail_claims where id = any($7::uuid[])
           )
           select event_id as "eventId" from told where not is_ours`,
    values: [
      results.map(({ eventId }) => eventId),
      results.map(({ claimId }) => claimId),
      results.map((result) => ("failure" in result ? result.failure : null)),
      results.map((result) => result.status === "retry" && result.mayHaveArrived),
      results.map((result) => (result.status === "retry" ? result.pauseMs : 0)),
      claimIds,
      finished.toSorted(),
      results.map(({ status }) => status),
    ],
  });
  return new Set(rows.map(({ eventId }) => eventId));
}

/** Mails that are moved at once at most. */
const ADOPTED_MAX = 1_000;

/**
 * Moves to `mails` what the version before has left to be sent. While it runs it may still have some in hand: those that
 * are not due. Answers whether there may be more.
 */
export async function adoptMails(db: Queryable): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "mail_adopt",
    text: `with due as (
             select event_id, claimed from notifications where status = 'pending' and due_at <= now()
             order by due_at limit $1 for update skip locked
           ), adopted as (
             update notifications n set status = 'mailed' from due where n.event_id = due.event_id
             returning n.event_id, n.received_at, n.attempts, due.claimed, n.failure
           )
           insert into mails (event_id, since, attempts, may_have_arrived, failure) select * from adopted`,
    values: [ADOPTED_MAX],
  });
  return rowCount === ADOPTED_MAX;
}

/** Counted up to a limit, so that a scrape costs little however much waits. */
const COUNTED_MAX = 10_000;

export async function readMailState(db: Queryable): Promise<MailState> {
  const { rows } = await db.query<MailState>({
    name: "mail_state",
    text: `select count(*)::integer as pending,
             (extract(epoch from now() - min(since)) * 1000)::float8 as "oldestMs",
             (select count(*) from (select from notifications where status = 'failed' limit $1) f)::integer as failed,
             (select coalesce(sum(repeats), 0) from (select repeats from notifications where repeats > 0 limit $1) r)::integer
               as repeats
           from (select since from mails order by due_at limit $1) w`,
    values: [COUNTED_MAX],
  });
  return rows[0] as MailState;
}
