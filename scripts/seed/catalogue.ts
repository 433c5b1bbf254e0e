/** The demo products, put into the product database where they are missing. */
import pg from "pg";
import { newId } from "../../lib/ids.ts";
import { DEMO_PRODUCTS } from "../../services/product/demo.ts";
import { insertProducts } from "../../services/product/product.repository.ts";

/** Adds those whose SKU is not there. Answers how many that were. */
export async function seedMissing(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    const { rows } = await client.query<{ sku: string }>("select sku from products where deleted_at is null");
    const taken = new Set(rows.map((row) => row.sku));
    const missing = DEMO_PRODUCTS.filter((product) => !taken.has(product.sku));
    await insertProducts(
      client,
      missing.map((product) => ({ ...product, id: newId() })),
      {},
    );
    return missing.length;
  } finally {
    await client.end();
  }
}

/** Adds them all to a catalogue without any product, and none to another. */
export async function seedEmptyCatalogue(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    const { rows } = await client.query("select 1 from products limit 1");
    if (rows.length > 0) return 0;
  } finally {
    await client.end();
  }
  return seedMissing(url);
}
