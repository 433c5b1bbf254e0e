/** The domain of product, pure: who gets the stock of a batch, and why the others do not. */
import type { Refusal } from "../../actors/protocol/messages.ts";
import type { ReservationRequest } from "./api.ts";

/** Units on hand of one product, at most. */
export const STOCK_MAX = 1_000_000_000;

/** A product's locked row as the allocation sees it; `available` shrinks as entries are granted. */
export interface StockRow {
  id: string;
  price: number;
  currency: string;
  available: number;
}

/**
 * Grants one request from the stock or says why not; all lines or none. Throws RangeError for a quantity below 1. Grants are taken off `stock`, so calling this
 * for one entry after another equals one-by-one execution.
 */
export function allocate(
  request: ReservationRequest,
  stock: ReadonlyMap<string, StockRow>,
): Refusal | undefined {
  const demand = new Map<string, number>();
  for (const line of request.lines) {
    // Not a matter of stock: whoever made this request is broken, and a no would hide it.
    if (!(line.quantity >= 1)) throw new RangeError(`a line reserves ${line.quantity} of ${line.productId}`);
    const row = stock.get(line.productId);
    if (!row) return { reason: "product_gone", detail: { productId: line.productId } };
    if (row.price !== line.unitPrice || row.currency !== request.currency)
      return {
        reason: "price_changed",
        detail: { productId: line.productId, price: { amount: row.price, currency: row.currency } },
      };
    const wanted = (demand.get(line.productId) ?? 0) + line.quantity;
    if (wanted > row.available)
      return {
        reason: "insufficient_stock",
        detail: { productId: line.productId, available: row.available },
      };
    demand.set(line.productId, wanted);
  }
  for (const [productId, quantity] of demand) (stock.get(productId) as StockRow).available -= quantity;
  return undefined;
}
