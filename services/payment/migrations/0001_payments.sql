-- Payments are the votes of payment. authorizing is the durable intent before the card gateway is asked; `debt` is what
-- the gateway still owes us to do: capture with a commit, void with an abort. It is written together with the local
-- outcome and cleared when the gateway has done it. A payment reads as authorized, captured (committed, no debt) or
-- voided (aborted).
create table payments (
  tx_id uuid primary key,
  state text not null check (state in ('authorizing', 'prepared', 'committed', 'aborted')),
  request_hash text,
  refusal jsonb,
  user_id uuid,
  amount bigint,
  currency char(3),
  token text,
  authorization_id text,
  debt text check (debt in ('capture', 'void')),
  created_at timestamptz not null default now()
) with (fillfactor = 70);

-- What is unfinished: in doubt, or owed by the gateway. Nearly always empty.
create index payments_unfinished on payments (tx_id) where state in ('authorizing', 'prepared') or debt is not null;

create table seal (
  only_row boolean primary key default true check (only_row),
  tx_id uuid not null
);
insert into seal (tx_id) values ('00000000-0000-0000-0000-000000000000');
