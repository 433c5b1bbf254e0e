-- Events, written in the transaction of what they tell. The relay publishes what is unpublished, lowest first; the
-- position says where an event stands in the order in which events became visible, and is given when it is published.
create table outbox (
  sequence bigint generated always as identity primary key,
  id uuid not null default gen_random_uuid(),
  type text not null,
  version integer not null,
  key uuid not null,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  published_at timestamptz,
  -- The traceparent of the request that told it; null where nothing is traced.
  trace text,
  position bigint
) with (fillfactor = 70);
create index outbox_unpublished on outbox (sequence) where published_at is null;
create sequence outbox_position;
create unique index outbox_by_position on outbox (position) where position is not null;

-- One row. Which relay publishes to Kafka at present, where several could, and until when: it only saves them doing the
-- same work twice. And the time before which published events may have been deleted.
create table relay (
  only_row boolean primary key default true check (only_row),
  holder text,
  held_until timestamptz not null default '-infinity',
  pruned_before timestamptz not null default '-infinity'
);
insert into relay default values;

-- Up to where each consumer that reads this outbox has taken its events, as far as it is known here; nothing above the
-- lowest of these is deleted.
create table outbox_readers (
  consumer text primary key,
  position bigint not null
);
