-- The catalogue with its stock. `on_hand` is what lies in the warehouse, `reserved` what prepared orders hold of it.
-- Sku is unique among what is sold; a deleted product stays, because prepared orders still commit against it.
-- Half-full pages let stock change in place, without touching the indexes.
create table products (
  id uuid primary key,
  sku text not null collate "C",
  name text not null,
  description text not null default '',
  price bigint not null check (price between 1 and 90000000),
  currency char(3) not null,
  on_hand bigint not null check (on_hand >= 0),
  reserved bigint not null default 0 check (reserved >= 0 and reserved <= on_hand),
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

-- At or below the seal no vote may be recorded any more (garbage rule). One row.
create table seal (
  only_row boolean primary key default true check (only_row),
  tx_id uuid not null
);
insert into seal (tx_id) values ('00000000-0000-0000-0000-000000000000');
