/** Product as the conformance suite sees it: two products that every request takes one unit of, in either order. */
import { newId } from "../../lib/ids.ts";
import type { Database } from "../../mixins/database.mixin.ts";
import type { Votes } from "../../mixins/participant.mixin.ts";
import type { ReservationRequest } from "../../services/product/api.ts";
import { operatedReservations } from "../../services/product/product.operated.ts";
import { productParticipant } from "../../services/product/product.participant.ts";
import { insertProducts } from "../../services/product/product.repository.ts";
import type { Subject } from "./subject.ts";

export const PRICE = 1_000;
const STOCK = 1_000_000;

/** Adds products with this stock each; answers their ids in ascending order. */
export async function addProducts(db: Database, count: number, stock: number): Promise<string[]> {
  const ids = Array.from({ length: count }, newId).sort();
  const products = ids.map((id) => ({
    id,
    sku: id,
    name: "Thing",
    description: "",
    price: PRICE,
    currency: "EUR",
    stock,
  }));
  await insertProducts(db, products, {});
  return ids;
}

export const reservation = (...lines: [productId: string, quantity: number][]): ReservationRequest => ({
  currency: "EUR",
  lines: lines.map(([productId, quantity]) => ({ productId, quantity, unitPrice: PRICE })),
});

export const product: Subject = {
  name: "product",
  table: "reservations",
  key: "tx_id",
  keepsCommitted: false,
  operated: operatedReservations,
  async makeWorld(db) {
    const ids = (await addProducts(db, 2, STOCK)) as [string, string];
    let turn = 0;
    const line = (quantity: number) => ({ productId: ids[0], quantity, unitPrice: PRICE });
    const sum = async (expression: string): Promise<number> => {
      const { rows } = await db.query<{ n: number }>({
        text: `select (sum(${expression}) / 2)::float8 as n from stocked_products where id = any($1::uuid[])`,
        values: [ids],
      });
      return rows[0]?.n as number;
    };
    return {
      factory: (host) => productParticipant(host.db) as Votes,
      request: () => {
        const [a, b] = turn++ % 2 ? ids : ([ids[1], ids[0]] as const);
        return reservation([a, 1], [b, 1]);
      },
      infeasible: () => ({
        request: reservation([ids[0], 1], [ids[1], STOCK + 1]),
        reason: "insufficient_stock",
      }),
      poison: {
        "a quantity that overflows": { currency: "EUR", lines: [line(1e30)] },
        "half a unit": { currency: "EUR", lines: [line(0.5)] },
        "an invalid uuid": { currency: "EUR", lines: [{ ...line(1), productId: "mug" }] },
        "no lines": { currency: "EUR" },
        "no request": null,
      },
      held: () => sum("reserved"),
      sold: () => sum(`${STOCK} - on_hand`),
    };
  },
};
