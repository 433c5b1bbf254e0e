/** All SQL of the catalogue: reading, editing, and recording every change of stock that is not an order. */

import { instant, integer, text } from "../../lib/cursor.ts";
import { isId } from "../../lib/ids.ts";
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import type { Product } from "./api.ts";
import { STOCK_MAX } from "./product.ts";

export interface ProductRow {
  id: string;
  sku: string;
  name: string;
  description: string;
  price: number;
  currency: string;
  on_hand: number;
  reserved: number;
  version: number;
  created_at: Date;
  updated_at: Date;
}

/** What an admin writes: all fields of a product that are not derived. `price` in minor units. */
export interface ProductFields {
  sku: string;
  name: string;
  description: string;
  price: number;
  currency: string;
  stock: number;
}

export interface ListFilter {
  q?: string | undefined;
  currency?: string | undefined;
  minPrice?: number | undefined;
  maxPrice?: number | undefined;
  sort: Sort;
}

/** Public names of the sort keys and the columns behind them. Every one is made unique by the id. */
const SORT_COLUMNS = { name: 'name collate "C"', price: "price", createdAt: "created_at" } as const;
export const SORTS = ["name", "-name", "price", "-price", "createdAt", "-createdAt"] as const;
export type Sort = (typeof SORTS)[number];

const COLUMNS =
  "id, sku, name, description, price, currency, on_hand, reserved, version, created_at, updated_at";

export const toProduct = (row: ProductRow): Product => ({
  id: row.id,
  sku: row.sku,
  name: row.name,
  description: row.description,
  price: { amount: row.price, currency: row.currency },
  stock: row.on_hand,
  available: row.on_hand - row.reserved,
  version: row.version,
  createdAt: row.created_at.toISOString(),
  updatedAt: row.updated_at.toISOString(),
});

/** One page after `after`, the sort key and id of the row before it. */
export async function listProducts(
  db: Queryable,
  filter: ListFilter,
  after: readonly unknown[] | undefined,
  limit: number,
): Promise<ProductRow[]> {
  // Loaded for the first list, because knex is slow to load and most nodes are never asked for one.
  const { nativeOf, sql } = await import("../../mixins/query.builder.ts");
  const descending = filter.sort.startsWith("-");
  const column = SORT_COLUMNS[filter.sort.replace("-", "") as keyof typeof SORT_COLUMNS];
  const query = sql("stocked_products").select(sql.raw(COLUMNS)).whereNull("deleted_at");
  if (filter.q) {
    const pattern = `%${filter.q.replace(/[\\%_]/g, "\\$&")}%`;
    query.where((any) =>
      any.whereILike("name", pattern).orWhereILike("sku", pattern).orWhereILike("description", pattern),
    );
  }
  if (filter.currency) query.where("currency", filter.currency);
  if (filter.minPrice !== undefined) query.where("price", ">=", filter.minPrice);
  if (filter.maxPrice !== undefined) query.where("price", "<=", filter.maxPrice);
  if (after) query.whereRaw(`(${column}, id) ${descending ? "<" : ">"} (?, ?)`, after as string[]);
  const direction = descending ? "desc" : "asc";
  query.orderByRaw(`${column} ${direction}, id ${direction}`).limit(limit);
  return (await db.query<ProductRow>(nativeOf(query))).rows;
}

/** What the position of a row in a list is made of, to check cursors by. */
export const positionShape = (sort: Sort): ((value: unknown) => boolean)[] => {
  const key = sort.replace("-", "");
  return [key === "name" ? text : key === "price" ? integer : instant, isId];
};

/** The position of a row in a list, for the next page's `after`. */
export function positionOf(row: ProductRow, sort: Sort): unknown[] {
  const key = sort.replace("-", "");
  return [key === "name" ? row.name : key === "price" ? row.price : row.created_at.toISOString(), row.id];
}

/** What pricing an order needs of a product; its stock is not among it. */
export type PricedProduct = Pick<ProductRow, "id" | "sku" | "name" | "price" | "currency">;

export async function findPrices(db: Queryable, ids: readonly string[]): Promise<PricedProduct[]> {
  const { rows } = await db.query<PricedProduct>({
    name: "find-prices",
    text: "select id, sku, name, price, currency from products where id = any($1::uuid[]) and deleted_at is null",
    values: [ids],
  });
  return rows;
}

/** The prices of up to `limit` products, the newest first. */
export async function listPrices(db: Queryable, limit: number): Promise<PricedProduct[]> {
  const { rows } = await db.query<PricedProduct>({
    text: `select id, sku, name, price, currency from products where deleted_at is null
           order by created_at desc, id desc limit $1`,
    values: [limit],
  });
  return rows;
}

export async function findProducts(db: Queryable, ids: readonly string[]): Promise<ProductRow[]> {
  const { rows } = await db.query<ProductRow>({
    name: "find-products",
    text: `select ${COLUMNS} from stocked_products where id = any($1::uuid[]) and deleted_at is null`,
    values: [ids],
  });
  return rows;
}

/** Who changes the catalogue, and in which trace. */
export interface Author {
  userId?: string;
  traceparent?: string | null;
}

// A product as its events tell of it. Stock is that of the moment; what orders move tells nobody here.
const TOLD = `jsonb_build_object('productId', id, 'sku', sku, 'name', name, 'price', price, 'currency', currency,
  'stock', on_hand, 'version', version)`;

/** Inserts products with their first stock. Throws SQLSTATE 23505 on products_sku where a SKU is taken. */
export async function insertProducts(
  db: Queryable,
  products: readonly (ProductFields & { id: string })[],
  by: Author,
): Promise<ProductRow[]> {
  const { rows } = await db.query<ProductRow>({
    text: `
      with made as (
        insert into products (id, sku, name, description, price, currency, available, created_at, updated_at)
        select p.id, p.sku, p.name, p.description, p.price, p.currency, p.stock, t.now, t.now
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])
          as p (id, sku, name, description, price, currency, stock),
          (select date_trunc('milliseconds', now()) as now) as t
        returning *, available as on_hand, 0::bigint as reserved
      ),
      recorded as (
        insert into stock_adjustments (product_id, delta, reason, adjusted_by)
        select id, available, 'first stock', $8 from made where available > 0
      ),
      told as (
        insert into outbox (type, version, key, payload, trace)
        select 'product.created', 1, id, ${TOLD}, $9 from made
      )
      select ${COLUMNS} from made`,
    values: [
      products.map((product) => product.id),
      products.map((product) => product.sku),
      products.map((product) => product.name),
      products.map((product) => product.description),
      products.map((product) => product.price),
      products.map((product) => product.currency),
      products.map((product) => product.stock),
      by.userId ?? null,
      by.traceparent ?? null,
    ],
  });
  return rows;
}

export type EditResult =
  | { kind: "done"; row: ProductRow }
  | { kind: "gone" }
  | { kind: "stale"; version: number }
  | { kind: "too_low" | "too_high"; wanted: number; row: ProductRow };

/** Replaces all fields, if the version is among the expected ones and the stock covers what is reserved. */
export function replaceProduct(
  db: Database,
  id: string,
  fields: ProductFields,
  expected: readonly number[] | undefined,
  by: Author,
): Promise<EditResult> {
  return edit(db, id, async (tx, row) => {
    if (expected && !expected.includes(row.version)) return { kind: "stale", version: row.version };
    if (fields.stock < row.reserved) return { kind: "too_low", wanted: fields.stock, row };
    const delta = fields.stock - row.on_hand;
    await recordAdjustment(tx, id, delta, "replaced by an edit", by);
    await tx.query({
      text: `update products set sku = $2, name = $3, description = $4, price = $5, currency = $6,
               available = available + $7, version = version + 1, updated_at = date_trunc('milliseconds', now())
             where id = $1`,
      values: [id, fields.sku, fields.name, fields.description, fields.price, fields.currency, delta],
    });
    await tellChanged(tx, id, by);
    return { kind: "done", row: (await findStocked(tx, id)) as ProductRow };
  });
}

/** Adds `delta` units (or takes them away), if the stock covers what is reserved then, and records why. */
export function adjustStock(
  db: Database,
  id: string,
  delta: number,
  reason: string,
  by: Author,
): Promise<EditResult> {
  return edit(db, id, async (tx, row) => {
    const wanted = row.on_hand + delta;
    if (wanted < row.reserved) return { kind: "too_low", wanted, row };
    if (wanted > STOCK_MAX) return { kind: "too_high", wanted, row };
    await recordAdjustment(tx, id, delta, reason, by);
    await tx.query({
      text: "update products set available = available + $2 where id = $1",
      values: [id, delta],
    });
    await tellChanged(tx, id, by);
    return { kind: "done", row: (await findStocked(tx, id)) as ProductRow };
  });
}

/** Takes a product out of the catalogue. Its row stays, because prepared orders still commit against it. */
export async function deleteProduct(db: Queryable, id: string, by: Author): Promise<boolean> {
  const { rows } = await db.query({
    text: `
      with deleted as (
        update products set deleted_at = now() where id = $1 and deleted_at is null returning id, sku
      ),
      told as (
        insert into outbox (type, version, key, payload, trace)
        select 'product.removed', 1, id, jsonb_build_object('productId', id, 'sku', sku), $2 from deleted
      )
      select id from deleted`,
    values: [id, by.traceparent ?? null],
  });
  return rows.length === 1;
}

export async function isCatalogueEmpty(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ empty: boolean }>({
    text: "select not exists (select 1 from products) as empty",
  });
  return rows[0]?.empty === true;
}

async function findStocked(tx: Queryable, id: string): Promise<ProductRow | undefined> {
  const { rows } = await tx.query<ProductRow>({
    text: `select ${COLUMNS} from stocked_products where id = $1 and deleted_at is null`,
    values: [id],
  });
  return rows[0];
}

/** Locks the product, so that nothing is reserved or released meanwhile; then looks at it in a statement of its own,
 *  which sees what was reserved before the lock was had. */
function edit(
  db: Database,
  id: string,
  change: (tx: Queryable, row: ProductRow) => Promise<EditResult>,
): Promise<EditResult> {
  return db.transaction(async (tx) => {
    await tx.query({ text: "select 1 from products where id = $1 for no key update", values: [id] });
    const row = await findStocked(tx, id);
    return row ? change(tx, row) : { kind: "gone" };
  });
}

async function tellChanged(tx: Queryable, id: string, by: Author): Promise<void> {
  await tx.query({
    text: `insert into outbox (type, version, key, payload, trace)
           select 'product.changed', 1, id, ${TOLD}, $2 from stocked_products where id = $1`,
    values: [id, by.traceparent ?? null],
  });
}

async function recordAdjustment(
  tx: Queryable,
  id: string,
  delta: number,
  reason: string,
  by: Author,
): Promise<void> {
  if (delta === 0) return;
  await tx.query({
    text: "insert into stock_adjustments (product_id, delta, reason, adjusted_by) values ($1, $2, $3, $4)",
    values: [id, delta, reason, by.userId ?? null],
  });
}
