/** What a person sees when the shop is open: where it is, whom to log in as, and a purchase to paste. */
import type { AddressInfo } from "node:net";
import type { ServiceBroker } from "moleculer";
import type { Config, ServiceName } from "../config/index.ts";
import { type AdminCredentials, adminFileIn, keptAdmin } from "./admin-password.ts";

/** Whose routes a purchase takes. */
const SELLERS: readonly ServiceName[] = ["auth", "user", "product", "order"];

/** `madePassword` is the first admin's, where this start made it. */
export async function banner(
  broker: ServiceBroker,
  config: Config,
  madePassword: string | null,
): Promise<string> {
  const api = broker.getLocalService("api") as { server?: { address(): AddressInfo | null } } | undefined;
  const address = api?.server?.address();
  if (address) return greeting(`http://localhost:${address.port}`, config, madePassword);
  const hosts = `\nThis node (${config.nodeId}) hosts ${config.services.join(", ")}; no gateway.`;
  return madePassword === null ? hosts : `${hosts}\n  ${adminLine(config, madePassword)}`;
}

/** The purchase is left out where this gateway does not serve it: it may be one of auth's alone. */
export async function greeting(url: string, config: Config, madePassword: string | null): Promise<string> {
  const isUserEmbedded = !(config.databaseUrls.user ?? config.databaseUrl);
  const kept = isUserEmbedded ? await keptAdmin(config.dataDir) : undefined;
  const sells = SELLERS.every((name) => config.expectedServices.includes(name));
  return `
The shop is open.
  API        ${url}   reference ${url}/docs
  data       ${config.databaseUrl === undefined ? config.dataDir : "on the server of DATABASE_URL"}
  ${adminLine(config, madePassword, kept)}
${sells ? `\nRegister, log in and buy: paste this into another terminal.\n\n${purchase(url)}\n` : ""}`;
}

/** The account is as old as the data, and the configuration may have changed since. */
function adminLine(config: Config, madePassword: string | null, kept?: AdminCredentials): string {
  if (madePassword !== null)
    return `admin      ${config.adminEmail}, password ${madePassword} (made now and printed this once)`;
  if (kept) return `admin      ${kept.email}, the password in ${adminFileIn(config.dataDir)}`;
  return `admin      ADMIN_EMAIL (now ${config.adminEmail}) and ADMIN_PASSWORD, or the password shown, of the first start`;
}

/** Plain sh with curl, grep, head and cut: what every machine has. Pasted twice, it buys twice. */
function purchase(url: string): string {
  const json = "-H 'content-type: application/json'";
  const first = (field: string) => `grep -o '"${field}":"[^"]*"' | head -n 1 | cut -d '"' -f 4`;
  return `SHOP=${url}
curl -s $SHOP/register ${json} -d '{"email":"ada@example.com","password":"analytical engine","name":"Ada"}'
TOKEN=$(curl -s $SHOP/login ${json} -d '{"email":"ada@example.com","password":"analytical engine"}' | ${first("accessToken")})
PRODUCT=$(curl -s "$SHOP/products?limit=1" | ${first("id")})
curl -i $SHOP/orders ${json} -H "authorization: Bearer $TOKEN" -d '{"items":[{"productId":"'$PRODUCT'","quantity":1}],"payment":{"token":"tok_ok"}}'`;
}
