/**
 * `npm run seed`: puts the demo products into the shop of DATA_DIR or DATABASE_URL, running or not. Products whose SKU
 * is there already are left as they are.
 */
import { DEMO_PRODUCTS } from "../services/product/demo.ts";
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";
import { seedMissing } from "./seed/catalogue.ts";

readArguments("usage: npm run seed\nDATA_DIR or DATABASE_URL say which shop, as for npm start.", {});
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
  try {
    const added = await seedMissing(urls.product);
    console.log(`${added} demo products added, ${DEMO_PRODUCTS.length - added} were there`);
  } finally {
    await release();
  }
}
