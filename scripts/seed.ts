/**
 * `npm run seed`: puts the demo products into the shop of DATA_DIR or DATABASE_URL, running or not. Products whose SKU
 * is there already are left as they are.
 */
import pg from "pg";
import { newId } from "../lib/ids.ts";
import { DEMO_PRODUCTS } from "../services/product/demo.ts";
import { insertProducts } from "../services/product/product.repository.ts";
import { describe } from "./describe.ts";

try {
  await seed();
} catch (err) {
  console.error(`The catalogue was not seeded: ${describe(err)}`);
  process.exitCode = 1;
}

async function seed(): Promise<void> {
  // Not static: a faulty configuration throws when it is read.
  const { config } = await import("../config/index.ts");
  const { attach } = await import("./attach.ts");
  const { urls, release } = await attach(config, (line) => console.error(line));
  const client = new pg.Client({ connectionString: urls.product });
  try {
    await client.connect();
    const { rows } = await client.query<{ sku: string }>("select sku from products where deleted_at is null");
    const taken = new Set(rows.map((row) => row.sku));
    const missing = DEMO_PRODUCTS.filter((product) => !taken.has(product.sku));
    await insertProducts(
      client,
      missing.map((product) => ({ ...product, id: newId() })),
      undefined,
    );
    console.log(`${missing.length} demo products added, ${DEMO_PRODUCTS.length - missing.length} were there`);
  } finally {
    await client.end();
    await release();
  }
}
