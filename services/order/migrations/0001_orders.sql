-- Orders are the votes of order: one row per transaction, its id is the txId. prepared reads as pending, committed as
-- confirmed. An aborted row is no order to anybody, unless its client was answered "pending" before: then it reads as
-- rejected. A tombstone has neither user nor lines. The lines are the snapshot of what was bought, never edited and
-- always read whole, so they live in the row: [{productId, sku, name, quantity, unitPrice}], prices in minor units.
create table orders (
  id uuid primary key,
  state text not null check (state in ('prepared', 'committed', 'aborted')),
  request_hash text,
  refusal jsonb,
  answered_pending boolean not null default false,
  user_id uuid,
  idempotency_key text,
  body_hash text,
  lines jsonb,
  total bigint,
  currency char(3),
  created_at timestamptz
) with (fillfactor = 70);

-- The binding of (user, Idempotency-Key) to its one live attempt. An aborted attempt frees the key; a committed one
-- keeps it for good.
create unique index orders_live_key on orders (user_id, idempotency_key)
  where idempotency_key is not null and state <> 'aborted';
create index orders_by_user on orders (user_id, id) where user_id is not null;
create index orders_in_doubt on orders (id) where state = 'prepared';

-- Events, written in the transaction of what they tell. The relay publishes what is unpublished, lowest first.
create table outbox (
  sequence bigint generated always as identity primary key,
  id uuid not null default gen_random_uuid(),
  type text not null,
  version integer not null,
  key uuid not null,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  published_at timestamptz
) with (fillfactor = 70);
create index outbox_unpublished on outbox (sequence) where published_at is null;

create table seal (
  only_row boolean primary key default true check (only_row),
  tx_id uuid not null
);
insert into seal (tx_id) values ('00000000-0000-0000-0000-000000000000');
