/**
 * `npm run migrate`: creates every service's database where it is missing, brings its tables forward, and exits. Safe
 * beside running nodes, other migrations and itself: each database is migrated under a lock. Nodes do the same for
 * their own databases when they start, so this exists for deployments that must see it fail before any node is replaced.
 */
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";

readArguments("usage: npm run migrate\nDATABASE_URL says which server, as for npm start.", {});
try {
  await main();
} catch (err) {
  console.error(`The databases could not be migrated: ${describe(err)}`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  // Not static: a faulty configuration throws when it is read.
  const { DATABASES } = await import("../config/index.ts");
  const { databaseName } = await import("../config/database.ts");
  const { prepareDatabase } = await import("../mixins/migrations.ts");
  for (const service of DATABASES) {
    const folder = service === "transaction-manager" ? "actors" : "services";
    await prepareDatabase(
      service,
      new URL(`../${folder}/${service}/migrations/`, import.meta.url),
      console.log,
    );
    console.log(`${databaseName(service)} is up to date`);
  }
}
