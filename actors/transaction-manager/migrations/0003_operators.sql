-- Participants that answered a decision with `heuristic`: it counts as acknowledged, so that recovery ends, and an
-- operator answers for it.
alter table decisions add column heuristic text[] not null default '{}';

-- Decisions that operators proposed, written before the proposal; `stored` is what the register answered. Changes of a
-- row against or without the register are recorded at their participant, because the register may be away. Rows are
-- never deleted.
create table forced_decisions (
  id bigint generated always as identity primary key,
  tx_id uuid not null,
  outcome text not null check (outcome in ('commit', 'abort')),
  forced_by text not null,
  reason text not null,
  forced_at timestamptz not null default now(),
  stored text check (stored in ('commit', 'abort', 'forgotten'))
);
create index forced_decisions_by_transaction on forced_decisions (tx_id, id);
