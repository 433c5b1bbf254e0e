/** Product's database, statement by statement as services/product/product.participant.ts names them. */
import type { TxId } from "../../actors/protocol/messages.ts";
import { type Row, type Simulated, SqlError, type View } from "../database.ts";
import {
  idsOf,
  insertMissing,
  lockAll,
  prune,
  seal,
  sealStatements,
  tombstone,
  type VoteColumns,
} from "./seal.ts";

export interface ProductRow extends Row {
  id: string;
  price: number;
  currency: string;
  available: number;
}

export interface Reservation extends VoteColumns {
  state: "prepared" | "committed" | "aborted";
  product_ids: string[];
  quantities: number[];
}

/** The elements of an array literal of PostgreSQL: no element here needs quotes. */
const elements = (literal: string | undefined): string[] =>
  (literal ?? "{}").slice(1, -1).split(",").filter(Boolean);

function take(view: View, productId: string, quantity: number): void {
  const row = view.lock<ProductRow>("products", productId) as ProductRow;
  if (row.available < quantity) throw new SqlError("23514", `available of ${productId} would be below 0`);
  view.put("products", productId, { ...row, available: row.available - quantity });
}

function changed(view: View, txIds: unknown, from: unknown, state: Reservation["state"]): Reservation[] {
  const rows = lockAll<Reservation>(view, "reservations", txIds as TxId[]).filter(
    (row) => row.state === from,
  );
  for (const row of rows) view.put("reservations", row.tx_id, { ...row, state });
  return rows;
}

export const PRODUCT: Record<string, Simulated> = {
  ...sealStatements<Reservation>("reservations", (row) => row.state === "prepared"),

  reserve(view, values) {
    const [ids, hashes, products, quantities, wanted, demand, prices, currencies] = values as [
      TxId[],
      string[],
      string[],
      string[],
      string[],
      number[],
      number[],
      string[],
    ];
    const low = seal(view);
    const isFresh = ids.every((id) => id > low && !view.get("reservations", id));
    const fits =
      isFresh &&
      wanted.every((id, i) => {
        const row = view.lock<ProductRow>("products", id);
        return (
          row !== undefined &&
          row.available >= (demand[i] as number) &&
          row.price === prices[i] &&
          row.currency === currencies[i]
        );
      });
    if (!fits) return [{ fits }];
    for (const [i, id] of wanted.entries()) take(view, id, demand[i] as number);
    for (const [i, tx_id] of ids.entries())
      view.put("reservations", tx_id, {
        tx_id,
        state: "prepared",
        request_hash: hashes[i] as string,
        refusal: null,
        product_ids: elements(products[i]),
        quantities: elements(quantities[i]).map(Number),
      } satisfies Reservation);
    return [{ fits }];
  },

  "find-reservations": (view, [txIds]) =>
    lockAll<Reservation>(view, "reservations", txIds as TxId[]).map((row) => ({ ...row })),

  "lock-stock": (view, [ids]) =>
    lockAll<ProductRow>(view, "products", [...new Set(ids as string[])]).map((row) => ({
      ...row,
      deleted: false,
    })),

  "hold-stock"(view, values) {
    const [ids, quantities] = values as [string[], number[]];
    for (const [i, id] of ids.entries()) take(view, id, quantities[i] as number);
    return [];
  },

  vote(view, values) {
    const [ids, hashes, products, quantities, refusals] = values as [
      TxId[],
      string[],
      string[],
      string[],
      (string | null)[],
    ];
    for (const [i, tx_id] of ids.entries()) {
      if (view.lock("reservations", tx_id)) throw new SqlError("23505", `${tx_id} has a row`);
      const refusal = refusals[i] ?? null;
      view.put("reservations", tx_id, {
        tx_id,
        state: refusal === null ? "prepared" : "aborted",
        request_hash: hashes[i] as string,
        refusal: refusal === null ? null : JSON.parse(refusal),
        product_ids: refusal === null ? elements(products[i]) : [],
        quantities: refusal === null ? elements(quantities[i]).map(Number) : [],
      } satisfies Reservation);
    }
    return [];
  },

  "commit-reservations": (view, [txIds, state]) => idsOf(changed(view, txIds, state, "committed")),

  "abort-reservations"(view, [txIds, state]) {
    const rows = changed(view, txIds, state, "aborted");
    for (const { product_ids, quantities } of rows)
      for (const [i, id] of product_ids.entries()) take(view, id, -(quantities[i] as number));
    return idsOf(rows);
  },

  "tombstone-reservations": (view, [txIds]) =>
    idsOf(
      insertMissing(
        view,
        "reservations",
        (txIds as TxId[]).map((txId) => ({ ...tombstone(txId), product_ids: [], quantities: [] })),
      ),
    ),

  "prune-reservations"(view, values) {
    const gone = prune<Reservation>(view, "reservations", values, ({ state }) => state !== "prepared");
    for (const { state, product_ids, quantities } of gone)
      if (state === "committed")
        for (const [i, product_id] of product_ids.entries()) {
          const sold = (view.lock("sold_stock", product_id)?.quantity ?? 0) as number;
          view.put("sold_stock", product_id, { product_id, quantity: sold + (quantities[i] as number) });
        }
    return [{ gone: gone.length }];
  },

  "reservations-in-doubt": (view, [limit]) =>
    idsOf(
      view
        .all<Reservation>("reservations")
        .filter((row) => row.state === "prepared")
        .slice(0, limit as number),
    ),
};
