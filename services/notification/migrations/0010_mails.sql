-- `content` is what the event tells its user, as far as the letter needs it: subject, text and HTML are made of it when
-- they are sent or shown. Rows from before have none; theirs are in `subject`, `text` and `html`. `mailed`: the mail is to
-- be sent for as long as it has a row in `mails`, and was taken by the mail server when it has none any more. `pending`
-- and `sent` are those of the version before, which may run beside us; what waits of them is moved to `mails`. Of the
-- columns for mail only `repeats` and `failure` are still written.
alter table notifications drop constraint notifications_status_check;
alter table notifications add constraint notifications_status_check
  check (status in ('stored', 'ignored', 'pending', 'sent', 'mailed', 'failed'))
  -- What is there fits, and reading it all would hold up consumers meanwhile.
  not valid;
alter table notifications add column content json;

-- Mail that is to be sent. A row goes when the mail server has taken the mail, or never will.
create table mails (
  event_id uuid primary key,
  -- When it may be sent: at once, or after a pause.
  due_at timestamptz not null default now(),
  since timestamptz not null default now(),
  -- How often it was sent in vain, but for those times that a server was away.
  attempts integer not null default 0,
  -- Its answer was lost, or whoever had it has died: when it is taken up again, that is a repeat.
  may_have_arrived boolean not null default false,
  failure text
);
create index mails_due on mails (due_at);

-- Mails in somebody's hand, one row for all that were taken up together. Whoever knows the id is the owner. One that has
-- lapsed is deleted by whoever finds it, and its mails may have arrived; the owner that wakes up later finds it gone.
create table mail_claims (
  id uuid primary key,
  event_ids uuid[] not null,
  until timestamptz not null
);
-- In the row, not beside it.
alter table mail_claims alter column event_ids set storage plain;
