-- What a customer has. A blocked account earns nothing, and its owner buys nothing.
create table if not exists accounts (
  user_id uuid primary key,
  points bigint not null default 0 check (points >= 0),
  blocked boolean not null default false
);

-- The participant's votes, one per transaction that ever asked. A final state never changes. An abort that came before its
-- prepare leaves a row too, a tombstone without a request, so that the late prepare finds it.
create table if not exists votes (
  tx_id uuid primary key,
  state text not null check (state in ('prepared', 'committed', 'aborted')),
  request_hash text,
  user_id uuid,
  points bigint,
  reason text
);
create index if not exists votes_in_doubt on votes (tx_id) where state = 'prepared';

-- At or below it no vote is recorded any more. One row.
create table if not exists seal (one boolean primary key default true check (one), up_to uuid not null);
insert into seal (up_to) values ('00000000-0000-0000-0000-000000000000') on conflict do nothing;
