/** What others may know of product: types only. */
import type { Money } from "../../lib/money.ts";

export interface Product {
  id: string;
  sku: string;
  name: string;
  description: string;
  price: Money;
  /** Units on hand. */
  stock: number;
  /** Units on hand less those reserved by orders on their way. */
  available: number;
  /** Moves on edits, not on stock. */
  version: number;
  createdAt: string;
  updatedAt: string;
}

/** What nodes tell each other the moment it happens, and may miss: this product is no longer what it was. */
export interface ProductChanged {
  id: string;
}

/** Payload of `product.created` and `product.changed` version 1: the product as it is then. Sales do not tell. */
export interface ProductV1 {
  productId: string;
  sku: string;
  name: string;
  /** In minor units of `currency`. */
  price: number;
  currency: string;
  /** Units on hand. */
  stock: number;
  /** Moves on edits; where two tell of one product, the later one has the same or a higher one. */
  version: number;
}

/** Payload of `product.removed` version 1: it is not sold any more. */
export interface ProductRemovedV1 {
  productId: string;
  sku: string;
}

/** One line of an order as product prices it. `unitPrice` in minor units of `currency`. */
export interface QuotedLine {
  productId: string;
  sku: string;
  name: string;
  quantity: number;
  unitPrice: number;
}

export interface QuoteParams {
  items: { productId: string; quantity: number }[];
  /** True: read the database, do not trust what is remembered. */
  fresh?: boolean;
}

export interface Quote {
  currency: string;
  lines: QuotedLine[];
  total: number;
}

/** What product is asked to prepare: reserve these units, if they still cost this. One line per product. */
export interface ReservationRequest {
  currency: string;
  lines: { productId: string; quantity: number; unitPrice: number }[];
}
