/** shop.v1.Products: messages from and to what product's actions take and answer. */
import type { Money } from "../lib/money.ts";
import { type Int64, optionalNumberOf, toMoney, toTimestamp, Words } from "./values.ts";

interface Product {
  id: string;
  sku: string;
  name: string;
  description: string;
  price: Money;
  stock: number;
  available: number;
  version: number;
  createdAt: string;
  updatedAt: string;
}
interface Quote {
  currency: string;
  lines: { productId: string; sku: string; name: string; quantity: number; unitPrice: number }[];
  total: number;
}
interface ListProductsRequest {
  limit?: number;
  cursor?: string;
  q?: string;
  sort?: string | number;
  currency?: string;
  minPrice?: Int64;
  maxPrice?: Int64;
}
export interface ItemMessage {
  productId?: string;
  quantity?: number;
}

const UNSPECIFIED = "PRODUCT_SORT_UNSPECIFIED";
const SORTS = new Words({
  name: "PRODUCT_SORT_NAME",
  "-name": "PRODUCT_SORT_NAME_DESCENDING",
  price: "PRODUCT_SORT_PRICE",
  "-price": "PRODUCT_SORT_PRICE_DESCENDING",
  createdAt: "PRODUCT_SORT_CREATED_AT",
  "-createdAt": "PRODUCT_SORT_CREATED_AT_DESCENDING",
});

/** Absent members are left out, because an action's rules may refuse an undefined one. */
export const given = (members: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

export const itemsOf = (items: ItemMessage[] = []): { productId: string; quantity: number }[] =>
  items.map(({ productId = "", quantity = 0 }) => ({ productId, quantity }));

const toProduct = ({ price, stock, available, createdAt, updatedAt, ...rest }: Product) => ({
  ...rest,
  price: toMoney(price),
  stock: String(stock),
  available: String(available),
  createdAt: toTimestamp(createdAt),
  updatedAt: toTimestamp(updatedAt),
});

export const GetProduct = {
  toParams: ({ id = "" }: { id?: string }) => ({ id }),
  toResponse: toProduct,
};

export const ListProducts = {
  toParams: ({ sort = UNSPECIFIED, minPrice, maxPrice, ...rest }: ListProductsRequest) =>
    given({
      ...rest,
      sort: sort === UNSPECIFIED ? undefined : SORTS.word(sort, "/sort"),
      minPrice: optionalNumberOf(minPrice, "/minPrice"),
      maxPrice: optionalNumberOf(maxPrice, "/maxPrice"),
    }),
  toResponse: ({ items, nextCursor }: { items: Product[]; nextCursor: string | null }) =>
    given({ items: items.map(toProduct), nextCursor: nextCursor ?? undefined }),
};

export const Quote = {
  toParams: ({ items, fresh }: { items?: ItemMessage[]; fresh?: boolean }) =>
    given({ items: itemsOf(items), fresh }),
  toResponse: ({ currency, lines, total }: Quote) => ({
    lines: lines.map(({ unitPrice, ...line }) => ({
      ...line,
      unitPrice: toMoney({ amount: unitPrice, currency }),
    })),
    total: toMoney({ amount: total, currency }),
  }),
};
