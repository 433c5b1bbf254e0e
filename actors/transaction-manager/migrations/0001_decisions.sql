-- The decision register. A decision is written once and never changed; the first writer wins. `participants` are those
-- enlisted, `acknowledged` those whose commit is known to be durable; `settled` spares recovery the comparison.
create table decisions (
  tx_id uuid primary key,
  outcome text not null check (outcome in ('commit', 'abort')),
  participants text[] not null,
  acknowledged text[] not null default '{}',
  settled boolean not null,
  decided_at timestamptz not null default now()
) with (fillfactor = 70);

-- What recovery looks for: commits that some participant has not acknowledged. Nearly always empty.
create index decisions_unsettled on decisions (decided_at) where not settled;

-- At or below the watermark nothing may be decided any more (garbage rule). One row.
create table watermark (
  only_row boolean primary key default true check (only_row),
  tx_id uuid not null
);
insert into watermark (tx_id) values ('00000000-0000-0000-0000-000000000000');

-- Rule 2 in one round trip. The INSERT and the reading are two statements, each with its own snapshot (the function is
-- volatile and the isolation READ COMMITTED), so the reading sees a rival's row that the INSERT had to wait for. The
-- caller learns the result only when the transaction has committed. The watermark row is share-locked, so that it
-- cannot be raised between the check and the commit.
create function decide(tx_ids uuid[], outcomes text[], participant_lists text[])
returns table (decided_tx_id uuid, stored_outcome text)
language plpgsql volatile as $$
begin
  insert into decisions (tx_id, outcome, participants, settled)
  select d.tx_id, d.outcome, string_to_array(d.participants, ','), d.outcome = 'abort'
  from (select w.tx_id from watermark w for share) as low (tx_id),
    unnest(tx_ids, outcomes, participant_lists) as d (tx_id, outcome, participants)
  where d.tx_id > low.tx_id
  order by d.tx_id
  on conflict (tx_id) do nothing;

  return query select d.tx_id, d.outcome from decisions d where d.tx_id = any (tx_ids);
end
$$;
