/**
 * Prices orders from memory. A remembered price may be stale: product's prepare checks every price again on the locked
 * row, so a stale one costs a second attempt and never a wrong total. Stock is never remembered.
 */
import { LRUCache } from "lru-cache";
import type { Mailbox } from "../../actors/mailbox.ts";
import type { Supervisor } from "../../actors/supervisor.ts";
import { ShopError } from "../../lib/errors.ts";
import { totalOf } from "../../lib/money.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Quote, QuoteParams } from "./api.ts";
import { findPrices, listPrices, type PricedProduct } from "./product.repository.ts";

/** About 300 bytes each: 15 MB at most. */
const REMEMBERED_MAX = 50_000;
/** Read in one query at the start, which it must not hold up; the rest is looked up when it is ordered. */
const WARM_MAX = 10_000;
/** A look-up that read a price just before its edit may be remembered just after; each order that meets it is priced
 *  twice. */
const REMEMBERED_MS = 60_000;

type Priced = Omit<PricedProduct, "id">;

export class Quotes {
  readonly #remembered = new LRUCache<string, Priced>({ max: REMEMBERED_MAX, ttl: REMEMBERED_MS });
  /** Lookups that arrive together share one query. */
  readonly #lookups: Mailbox<string, Priced | undefined>;

  readonly #db: Queryable;

  constructor(db: Queryable, supervisor: Supervisor) {
    this.#db = db;
    this.#lookups = supervisor.mailbox({
      name: "quote",
      inFlightMax: 2,
      behaviour: async (ids: string[]) => {
        const found = new Map<string, Priced>((await findPrices(db, ids)).map((row) => [row.id, row]));
        return ids.map((id) => found.get(id));
      },
    });
  }

  /** Remembers the newest products, so that a restart does not begin with a look-up for each. */
  async warm(): Promise<void> {
    for (const { id, ...priced } of await listPrices(this.#db, WARM_MAX)) this.#remembered.set(id, priced);
  }

  forget(id: string): void {
    this.#remembered.delete(id);
  }

  /** `budgetMs`: a look-up that has not begun by then is dropped. Throws product_gone for a product that is not sold, validation_failed for more than one currency. */
  async quote({ items, fresh }: QuoteParams, budgetMs?: number): Promise<Quote> {
    const priced = await Promise.all(
      items.map(({ productId }) => this.#price(productId, fresh === true, budgetMs)),
    );
    const currency = priced[0]?.currency as string;
    const other = priced.findIndex((product) => product.currency !== currency);
    if (other !== -1)
      throw new ShopError("validation_failed", "An order has one currency; place one order for each.", {
        errors: [
          {
            pointer: `/items/${other}/productId`,
            code: "mixed_currencies",
            message: `costs ${priced[other]?.currency}, the first item ${currency}`,
          },
        ],
      });
    const lines = items.map(({ productId, quantity }, i) => {
      const { sku, name, price } = priced[i] as Priced;
      return { productId, sku, name, quantity, unitPrice: price };
    });
    return { currency, lines, total: totalOf(lines) };
  }

  async #price(id: string, fresh: boolean, budgetMs?: number): Promise<Priced> {
    const remembered = fresh ? undefined : this.#remembered.get(id);
    if (remembered) return remembered;
    const row = await this.#lookups.ask(id, budgetMs);
    if (!row)
      throw new ShopError("product_gone", `The product ${id} is not sold; take it out of the order.`, {
        productId: id,
      });
    const priced: Priced = { sku: row.sku, name: row.name, price: row.price, currency: row.currency };
    this.#remembered.set(id, priced);
    return priced;
  }
}
