/** Imports an order book's stock codes as products. What the shop sells already is left as it is. */
import type { Account } from "./account.ts";
import { eachOf } from "./each-of.ts";
import type { BookProduct } from "./order-book.ts";
import { type ShopClient, unexpected } from "./shop-client.ts";

interface Page {
  items: { id: string; sku: string }[];
  nextCursor: string | null;
}

export interface Import {
  /** Product ids by SKU. */
  ids: Map<string, string>;
  created: number;
  existing: number;
  neverPriced: number;
}

export interface ImportOptions {
  client: ShopClient;
  /** Asked for only where something is missing. */
  admin: () => Promise<Account>;
  stockFactor: number;
  concurrency: number;
  begin: (total: number) => void;
  tick: () => void;
}

export async function importProducts(
  products: readonly BookProduct[],
  options: ImportOptions,
): Promise<Import> {
  const { client, stockFactor, concurrency, begin, tick } = options;
  const sold = await listAll(client);
  const priced = products.filter((product) => product.price !== undefined);
  const missing = priced.filter((product) => !sold.has(product.sku));
  const admin = missing.length > 0 ? await options.admin() : undefined;
  begin(missing.length);
  const taken: string[] = [];
  await eachOf(missing, concurrency, async ({ sku, name, price, unitsSold }) => {
    const body = {
      sku,
      name: [...name.replace(/\p{Cc}/gu, " ")].slice(0, 200).join(""),
      price: { amount: price, currency: "GBP" },
      stock: Math.floor(unitsSold * stockFactor),
    };
    const answer = await (admin as Account).send<{ id: string; code?: string }>({
      method: "POST",
      path: "/products",
      body,
    });
    if (answer.status === 201) sold.set(sku, answer.body.id);
    // Ours, where the answer to the first attempt was lost; or somebody else's.
    else if (answer.body.code === "sku_taken") taken.push(sku);
    else throw unexpected(`adding the product ${sku}`, answer);
    tick();
  });
  if (taken.length > 0) for (const [sku, id] of await listAll(client)) sold.set(sku, id);
  return {
    ids: sold,
    created: missing.length,
    existing: priced.length - missing.length,
    neverPriced: products.length - priced.length,
  };
}

async function listAll(client: ShopClient): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  let cursor: string | null = null;
  do {
    const path: string = `/products?limit=100&sort=createdAt${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`;
    const answer = await client.send<Page>({ method: "GET", path });
    if (answer.status !== 200) throw unexpected("listing the products", answer);
    for (const { id, sku } of answer.body.items) ids.set(sku, id);
    cursor = answer.body.nextCursor;
  } while (cursor !== null);
  return ids;
}
