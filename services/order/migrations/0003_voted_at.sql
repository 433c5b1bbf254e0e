-- When the vote was recorded, by the database's clock: created_at is what a node's clock said, and may be hours off.
alter table orders add column voted_at timestamptz not null default now();
