-- Ids of events in the order of their making, as all others are: where consumers keep them, indexes grow at their end
-- instead of everywhere. PostgreSQL before 18 has no such function, and ids stay random there, also
-- after an upgrade: the statement below, by hand, changes that.
do $$
begin
  if to_regprocedure('pg_catalog.uuidv7()') is not null then
    alter table outbox alter column id set default uuidv7();
  end if;
end
$$;
