-- Where an event stands in the order in which events became visible. It is given when the event is published, under a
-- lock, so that who has read up to a position has missed nothing below it, whatever `sequence` says: a lower sequence
-- may commit later. Null until then, and for events that were published before there were positions.
create sequence outbox_position;
alter table outbox add column position bigint;
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
