/**
 * Pages of the catalogue. What costs is the search; its result may be remembered (the action `product.page`, where a
 * cacher is configured). Stock is not among it: `withStock` reads it each time, and drops what was deleted meanwhile.
 */
import { decodeCursor, encodeCursor } from "../../lib/cursor.ts";
import { ShopError } from "../../lib/errors.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Product } from "./api.ts";
import {
  findProducts,
  type ListFilter,
  listProducts,
  positionOf,
  positionShape,
  toProduct,
} from "./product.repository.ts";

export type ListParams = ListFilter & { limit: number; cursor?: string };

export interface Page {
  items: Product[];
  nextCursor: string | null;
}

/** A page without what changes with each sale. */
export interface StocklessPage {
  items: Omit<Product, "stock" | "available">[];
  nextCursor: string | null;
}

/** Throws validation_failed for a foreign cursor and for a price filter without a currency. */
export async function readPage(db: Queryable, { limit, cursor, ...filter }: ListParams): Promise<Page> {
  requireCurrency(filter);
  const scope = [
    "products",
    filter.sort,
    filter.q ?? "",
    filter.currency ?? "",
    filter.minPrice ?? "",
    filter.maxPrice ?? "",
  ];
  const after = decodeCursor(scope, cursor, positionShape(filter.sort));
  const rows = await listProducts(db, filter, after, limit + 1);
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    items: page.map(toProduct),
    nextCursor: rows.length > limit && last ? encodeCursor(scope, positionOf(last, filter.sort)) : null,
  };
}

export const withoutStock = ({ items, nextCursor }: Page): StocklessPage => ({
  items: items.map(({ stock: _, available: __, ...item }) => item),
  nextCursor,
});

export async function withStock(db: Queryable, { items, nextCursor }: StocklessPage): Promise<Page> {
  const ids = items.map((item) => item.id);
  const now = new Map((await findProducts(db, ids)).map((row) => [row.id, toProduct(row)]));
  return {
    items: items.flatMap((item) => {
      const { stock, available } = now.get(item.id) ?? {};
      return stock === undefined || available === undefined ? [] : [{ ...item, stock, available }];
    }),
    nextCursor,
  };
}

function requireCurrency({ minPrice, maxPrice, currency }: ListFilter): void {
  if (currency !== undefined || (minPrice === undefined && maxPrice === undefined)) return;
  throw new ShopError("validation_failed", "A price filter needs a currency.", {
    errors: [{ parameter: "currency", code: "required", message: "is required with minPrice and maxPrice" }],
  });
}
