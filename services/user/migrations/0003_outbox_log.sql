-- The outbox is a log with readers, and Kafka is one of them: its row, `kafka`, says up to where it has acknowledged
-- everything. A reader that has not asked for a long time keeps nothing from being deleted.
alter table outbox_readers add column asked_at timestamptz not null default now();

-- Where events have always gone to Kafka it has what is published, and need not be sent all that is kept.
insert into outbox_readers (consumer, position)
select 'kafka', max(position) from outbox
where (select holder from relay) is not null and not exists (select from outbox_readers)
having max(position) is not null;

-- Events that Kafka refused for what they are, for operators; in the form of a consumer's dead letters. `replay_at` is
-- set where one shall be sent again.
create table refused_events (
  id uuid primary key,
  topic text not null,
  partition integer not null,
  -- In the outbox.
  position bigint not null,
  body text not null,
  error text not null,
  stack text,
  attempts integer not null,
  failed_at timestamptz not null default now(),
  replay_at timestamptz
);
create index refused_events_to_replay on refused_events (replay_at) where replay_at is not null;
