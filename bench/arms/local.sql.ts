/**
 * What the shop is measured against: the same rows, columns and indexes, written in ONE local transaction in ONE
 * database. The tables are made by the services' own migrations, each in a schema of its own. A local transaction
 * needs no reservation before the sale, so every row is written once, in its final state; only the decision register
 * has no counterpart here.
 *
 * Parameters: $1 order id, $2 user, $3 product, $4 quantity, $5 unit price, $6 total, $7 currency, $8 lines (jsonb),
 * $9 request hash, $10 card token, $11 authorization id, $12 time. Each statement takes those it names.
 */
export const SELL = `update product.products set available = available - $2
  where id = $1 and available >= $2 and price = $3 and currency = $4 and deleted_at is null`;

export const RECORD_SALE = `insert into product.reservations (tx_id, state, request_hash, product_ids, quantities)
  values ($1, 'committed', $2, array[$3::uuid], array[$4::bigint])`;

export const RECORD_ORDER = `insert into "order".orders (id, state, request_hash, user_id, lines, total, currency, created_at)
  values ($1, 'committed', $2, $3, $4, $5, $6, $7)`;

export const RECORD_PAYMENT = `insert into payment.payments
    (tx_id, state, request_hash, user_id, amount, currency, token, authorization_id)
  values ($1, 'committed', $2, $3, $4, $5, $6, $7)`;

export const RECORD_EVENT = `insert into "order".outbox (type, version, key, payload)
  values ('order.confirmed', 1, $1,
    jsonb_build_object('orderId', $1::uuid, 'userId', $2::uuid, 'total', $3::bigint, 'currency', $4::text, 'lines', $5::jsonb))`;

/** All of it as a single statement, the best that hand-written SQL does. */
export const ONE_STATEMENT = `
  with sold as (
    update product.products set available = available - $4::bigint
    where id = $3::uuid and available >= $4::bigint and price = $5::bigint and currency = $7 and deleted_at is null
    returning id
  ),
  sale as (
    insert into product.reservations (tx_id, state, request_hash, product_ids, quantities)
    select $1::uuid, 'committed', $9, array[$3::uuid], array[$4::bigint] from sold
  ),
  placed as (
    insert into "order".orders (id, state, request_hash, user_id, lines, total, currency, created_at)
    select $1::uuid, 'committed', $9, $2::uuid, $8::jsonb, $6::bigint, $7, $12::timestamptz from sold
  ),
  paid as (
    insert into payment.payments (tx_id, state, request_hash, user_id, amount, currency, token, authorization_id)
    select $1::uuid, 'committed', $9, $2::uuid, $6::bigint, $7, $10, $11 from sold
  ),
  told as (
    insert into "order".outbox (type, version, key, payload)
    select 'order.confirmed', 1, $1::uuid,
      jsonb_build_object('orderId', $1::uuid, 'userId', $2::uuid, 'total', $6::bigint, 'currency', $7::text, 'lines', $8::jsonb)
    from sold
  )
  select count(*) as sold from sold`;
