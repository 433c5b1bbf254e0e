/**
 * Where each service's database is. Precedence: DATABASE_URL_<SERVICE>, then `shop_<service>` on the server of
 * DATABASE_URL, then `shop_<service>` on the embedded server, whose address stands in DATA_DIR/postgres.json while it
 * is running (scripts/postgres.ts writes it).
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { type Config, config, type DatabaseName, environmentName } from "./index.ts";

/** `shop_order`, `shop_transaction_manager`. */
export const databaseName = (service: DatabaseName): string => `shop_${service.replaceAll("-", "_")}`;

export const embeddedAddressFile = (dataDir: string): string => path.join(dataDir, "postgres.json");

/** The connection URL of a service's own database. Throws where no server is configured and none is running. */
export function databaseUrlOf(service: DatabaseName, from: Config = config): string {
  const override = from.databaseUrls[service];
  if (override) return override;
  const url = new URL(from.databaseUrl ?? embeddedServerUrl(from.dataDir));
  url.pathname = `/${databaseName(service)}`;
  return url.href;
}

/** The variable that says where it is. */
export function databaseVariable(service: DatabaseName, from: Config = config): string {
  if (from.databaseUrls[service]) return `DATABASE_URL_${environmentName(service)}`;
  return from.databaseUrl ? "DATABASE_URL" : "DATA_DIR";
}

function embeddedServerUrl(dataDir: string): string {
  const file = embeddedAddressFile(dataDir);
  try {
    return (JSON.parse(readFileSync(file, "utf8")) as { url: string }).url;
  } catch (cause) {
    throw new Error(
      `no database server: DATABASE_URL is not set and ${file} cannot be read; start the shop with npm start, or set DATABASE_URL`,
      { cause },
    );
  }
}
