-- Everybody who was ever enlisted, written before their first txId is minted. The watermark waits for the seal of each;
-- one that is out of service for good is deleted here by hand, once nothing enlists it any more.
create table participants (
  name text primary key
);
insert into participants (name) select distinct unnest(participants) from decisions;

-- Garbage rule (b). The table lock excludes decide() and enrolment, which share-lock the row, for the few statements here;
-- unlike a row lock it is granted in the order of asking, so a steady stream of decisions cannot starve it. Whoever
-- cannot have it soon lets the decisions pass and tries again later.
create function raise_watermark(up_to uuid, sealed text[]) returns uuid
language plpgsql volatile set lock_timeout = '100ms' as $$
begin
  lock table watermark in exclusive mode;
  update watermark set tx_id = up_to
  where tx_id < up_to
    and not exists (select 1 from decisions d where not d.settled and d.tx_id <= up_to)
    and not exists (select 1 from participants p where p.name <> all (sealed));
  return (select w.tx_id from watermark w);
end
$$;
