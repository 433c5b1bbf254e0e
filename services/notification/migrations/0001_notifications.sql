-- One row per event, whatever became of it: the event's id is the key, so a delivery twice has the effect of once.
-- `stored` is a message to its user. `ignored` is an event that was not understood; it keeps the event as it came, so
-- that a later version can take it up, and it belongs to no user.
create table notifications (
  event_id uuid primary key,
  type text not null,
  version integer not null,
  -- Milliseconds, because a cursor carries it through JavaScript.
  time timestamptz(3) not null,
  status text not null check (status in ('stored', 'ignored')),
  user_id uuid,
  subject text,
  text text,
  ignored_event jsonb,
  received_at timestamptz not null default now(),
  check ((status = 'ignored') = (user_id is null)),
  check ((status = 'ignored') = (ignored_event is not null))
);
create index notifications_of_user on notifications (user_id, time desc, event_id desc) where user_id is not null;
