-- Events that have had their effect here, so that a repeat has none: a row is written in the transaction of the effect.
-- Deleted with age.
create table inbox (
  event_id uuid primary key,
  taken_at timestamptz not null default now()
);
create index inbox_by_age on inbox (taken_at);

-- How far each source of events has been read where there is no Kafka: everything up to the position has had its effect,
-- or is a dead letter. Moved in the transaction of the effects.
create table event_offsets (
  topic text primary key,
  position bigint not null
);

-- Events that could not be taken, for operators: why, and how often it was tried. `replay_at` is set where one shall be
-- tried again; a letter that is taken then is deleted in the transaction of its effect.
create table dead_letters (
  id uuid primary key,
  topic text not null,
  -- Kafka's partition and offset; where there is no Kafka, 0 and the position in the outbox.
  partition integer not null,
  position bigint not null,
  -- As it came: an event in JSON, unless that is why it is here.
  body text not null,
  error text not null,
  stack text,
  attempts integer not null,
  failed_at timestamptz not null default now(),
  replay_at timestamptz
);
create index dead_letters_to_replay on dead_letters (replay_at) where replay_at is not null;
