/** A shop whose way to its databases can be broken. */
import { databaseOf, TcpProxy } from "../../bench/drills/proxy.ts";
import { environmentName } from "../../config/index.ts";
import type { TestDatabases } from "../harness/databases.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";

export async function startShopThroughProxy(
  databases: TestDatabases,
): Promise<{ proxy: TcpProxy; shop: TestShop }> {
  const { hostname, port } = new URL(databases.server);
  const proxy = await TcpProxy.listen({ target: { host: hostname, port: Number(port) }, nameOf: databaseOf });
  const through = (url: string) => Object.assign(new URL(url), { port: String(proxy.port) }).href;
  const shop = await startTestShop({
    databases,
    env: Object.fromEntries(
      Object.entries(databases.urls).map(([name, url]) => [
        `DATABASE_URL_${environmentName(name)}`,
        through(url),
      ]),
    ),
  });
  return { proxy, shop };
}
