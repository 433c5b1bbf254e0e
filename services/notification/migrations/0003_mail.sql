-- Notifications are mailed. `pending`: the mail is to be sent; `sent`: the mail server has taken it; `failed`: it will not
-- be sent, and `failure` says why. `stored` are those from before there was mail, which is never sent for them.
alter table notifications drop constraint notifications_status_check;
alter table notifications add constraint notifications_status_check
  check (status in ('stored', 'ignored', 'pending', 'sent', 'failed'));
alter table notifications
  -- As long as it is to be sent; nobody reads it afterwards.
  add column html text,
  -- How often it was taken up to be sent, but for those times that a server was away.
  add column attempts integer not null default 0,
  -- Taken by a process to be sent. Found so when it is due again, that process has died, or got no answer, and the mail
  -- may have arrived: it is sent again with the same Message-ID, and counted.
  add column claimed boolean not null default false,
  add column repeats integer not null default 0,
  -- When somebody may take it: now, after a pause, or when the claim of somebody who has died lapses.
  add column due_at timestamptz not null default now(),
  add column sent_at timestamptz,
  add column failure text;
create index notifications_due on notifications (due_at) where status = 'pending';
create index notifications_failed on notifications (event_id) where status = 'failed';
create index notifications_repeated on notifications (event_id) where repeats > 0;
