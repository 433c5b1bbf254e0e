-- The catalogue with its stock. `available` is what may still be promised: a reservation takes it off, a release gives it
-- back, and a sale leaves it alone, so that committing an order touches no product.
-- Sku is unique among what is sold; a deleted product stays, because prepared orders still commit against it.
-- Half-full pages let stock change in place, without touching the indexes.
create table products (
  id uuid primary key,
  sku text not null collate "C",
  name text not null,
  description text not null default '',
  price bigint not null check (price between 1 and 90000000),
  currency char(3) not null,
  available bigint not null check (available >= 0),
  version integer not null default 1,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  deleted_at timestamptz
) with (fillfactor = 50);

create unique index products_sku on products (sku) where deleted_at is null;
create index products_by_name on products (name collate "C", id) where deleted_at is null;
create index products_by_price on products (currency, price, id) where deleted_at is null;
create index products_by_age on products (created_at, id) where deleted_at is null;

-- Every change of stock that is not an order: first stock, goods in, shrinkage, correction. With the committed
-- reservations this explains every unit on hand.
create table stock_adjustments (
  id bigint generated always as identity primary key,
  product_id uuid not null,
  delta bigint not null,
  reason text not null,
  adjusted_by uuid,
  adjusted_at timestamptz not null default now()
);
create index stock_adjustments_by_product on stock_adjustments (product_id, id);

-- The votes of product. One row per transaction: prepared holds the units, committed has sold them, aborted has
-- released them or never had them (a tombstone). `product_ids` and `quantities` run in parallel.
create table reservations (
  tx_id uuid primary key,
  state text not null check (state in ('prepared', 'committed', 'aborted')),
  request_hash text,
  refusal jsonb,
  product_ids uuid[] not null default '{}',
  quantities bigint[] not null default '{}',
  voted_at timestamptz not null default now()
) with (fillfactor = 80);
create index reservations_in_doubt on reservations (tx_id) where state = 'prepared';

-- Products as people see them: `reserved` is what prepared orders hold, `on_hand` what lies in the warehouse.
create view stocked_products as
select p.*, held.quantity as reserved, p.available + held.quantity as on_hand
from products p
cross join lateral (
  select coalesce(sum(u.quantity), 0)::bigint as quantity
  from reservations r, unnest(r.product_ids, r.quantities) as u (product_id, quantity)
  where r.state = 'prepared' and u.product_id = p.id
) as held;

-- At or below the seal no vote may be recorded any more (garbage rule). One row.
create table seal (
  only_row boolean primary key default true check (only_row),
  tx_id uuid not null
);
insert into seal (tx_id) values ('00000000-0000-0000-0000-000000000000');
