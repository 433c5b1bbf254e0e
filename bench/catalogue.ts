/** The goods of a benchmark: products that never sell out, inserted straight into a product table. */
import type pg from "pg";
import { v7 } from "uuid";

export const PRICE = 1_999;
export const CURRENCY = "EUR";
/** Enough for any run, and under the limit of a stock. */
const STOCK = 1_000_000_000;

/** Inserts `skus` products with their first stock recorded. `schema`: where the tables are. */
export async function stockUp(client: pg.ClientBase, skus: number, schema: string): Promise<string[]> {
  const ids = Array.from({ length: skus }, () => v7());
  await client.query(
    `with made as (
       insert into ${schema}.products (id, sku, name, price, currency, available, created_at, updated_at)
       select id, 'BENCH-' || n, 'Product ' || n, $2, $3, $4, now(), now()
       from unnest($1::uuid[]) with ordinality as p (id, n) returning id
     )
     insert into ${schema}.stock_adjustments (product_id, delta, reason) select id, $4, 'first stock' from made`,
    [ids, PRICE, CURRENCY, STOCK],
  );
  return ids;
}

export const anyOf = <Item>(items: readonly Item[]): Item =>
  items[Math.floor(Math.random() * items.length)] as Item;
