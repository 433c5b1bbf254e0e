-- Votes that an operator made final against or without the register: who, why and when, in the transaction that changed
-- the row. `stored` is what the register says once it can be asked; where it differs from `outcome` the transaction is
-- heuristic-mixed. Open until an operator closes it; an open one blocks the seal. Rows are never deleted.
create table heuristics (
  id bigint generated always as identity primary key,
  tx_id uuid not null,
  outcome text not null check (outcome in ('commit', 'abort')),
  state_before text not null,
  forced_by text not null,
  reason text not null,
  forced_at timestamptz not null default now(),
  stored text check (stored in ('commit', 'abort')),
  closed_by text,
  closed_reason text,
  closed_at timestamptz
);
create index heuristics_by_transaction on heuristics (tx_id);
create index heuristics_open on heuristics (tx_id) where closed_at is null;
create index heuristics_unanswered on heuristics (tx_id) where stored is null;
