-- The inbox is written for every event, and its age looked at once in a while: it is pruned by stretches of the table,
-- without an index by age.
drop index if exists inbox_by_age;
