/** What a person sees when the shop is open: where it is, whom to log in as, and a purchase to paste. */
import type { AddressInfo } from "node:net";
import path from "node:path";
import type { ServiceBroker } from "moleculer";
import type { Config } from "../config/index.ts";

/** `madePassword` is the first admin's, where this start made it. */
export function banner(broker: ServiceBroker, config: Config, madePassword: string | null): string {
  const api = broker.getLocalService("api") as { server?: { address(): AddressInfo | null } } | undefined;
  const address = api?.server?.address();
  if (address) return greeting(`http://localhost:${address.port}`, config, madePassword);
  const hosts = `\nThis node (${config.nodeId}) hosts ${config.services.join(", ")}; no gateway.`;
  return madePassword === null ? hosts : `${hosts}\n  ${adminLine(config, madePassword)}`;
}

export function greeting(url: string, config: Config, madePassword: string | null): string {
  return `
The shop is open.
  API        ${url}   reference ${url}/docs
  data       ${config.databaseUrl === undefined ? config.dataDir : "on the server of DATABASE_URL"}
  ${adminLine(config, madePassword)}

Register, log in and buy: paste this into another terminal.

${purchase(url)}
`;
}

function adminLine(config: Config, madePassword: string | null): string {
  const password =
    madePassword !== null
      ? `password ${madePassword} (made now and printed this once)`
      : config.adminPassword !== undefined
        ? "the password of ADMIN_PASSWORD"
        : config.databaseUrl === undefined
          ? `the password in ${path.join(config.dataDir, "admin.json")}`
          : "the password shown at the first start";
  return `admin      ${config.adminEmail}, ${password}`;
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
