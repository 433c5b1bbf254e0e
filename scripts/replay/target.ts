/**
 * The shop that a replay talks to: the one that answers at the URL; else, where no URL was given, the whole shop of
 * DATA_DIR or DATABASE_URL, started in this process for the duration.
 */
import type { AddressInfo } from "node:net";
import type { Config } from "../../config/index.ts";
import { type AdminCredentials, findAdminPassword, keepAdminPassword } from "../admin-password.ts";
import { ShopClient } from "./shop-client.ts";

export interface Target {
  url: string;
  /** Throws where nobody told this process an admin's password. */
  admin(): Promise<AdminCredentials>;
  stop(): Promise<void>;
}

type Say = (line: string) => void;

/** `url` as the person gave it, or undefined. A server at a given URL is waited for, never started. */
export async function findTarget(url: string | undefined, config: Config, say: Say): Promise<Target> {
  const at = url ?? `http://localhost:${config.port}`;
  const admin = () => adminOf(config);
  if (url !== undefined || (config.port !== 0 && (await answers(at))))
    return { url: at, admin, stop: async () => undefined };
  say(
    `nothing answers at ${at}: starting the shop of ${config.databaseUrl ? "DATABASE_URL" : config.dataDir} for this replay`,
  );
  return { ...(await startShop(config, say)), admin };
}

/** False where nothing listens. Throws where something other than the shop does. */
async function answers(url: string): Promise<boolean> {
  const client = new ShopClient(url, { sockets: 1 });
  try {
    const { status, body } = await client.once<{ status?: string }>({ method: "GET", path: "/health/live" });
    if (status === 200 && typeof body.status === "string") return true;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === "ECONNREFUSED") return false;
    throw new Error(`what listens at ${url} is not the shop; set PORT, or give --url`, { cause: err });
  } finally {
    client.close();
  }
  throw new Error(`what answers at ${url} is not the shop; set PORT, or give --url`);
}

async function adminOf({ adminEmail: email, adminPassword, dataDir }: Config): Promise<AdminCredentials> {
  const password = adminPassword ?? (await findAdminPassword(dataDir, email));
  if (password !== undefined) return { email, password };
  throw new Error(
    `adding products needs the password of ${email}: set ADMIN_PASSWORD to the one that was shown at the shop's first start`,
  );
}

async function startShop(config: Config, say: Say): Promise<Pick<Target, "url" | "stop">> {
  const { DATABASES } = await import("../../config/index.ts");
  const { ensurePostgres } = await import("../postgres.ts");
  const { createShop } = await import("../shop.ts");
  const undo: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    if (DATABASES.some((name) => !config.databaseUrl && !config.databaseUrls[name])) {
      const postgres = await ensurePostgres({ dataDir: config.dataDir, log: say });
      undo.push(() => postgres.stop());
    }
    // What the shop logs would go to stdout, which is the report's.
    const broker = await createShop({ overrides: { logger: false } });
    undo.push(() => broker.stop());
    await broker.start();
    const made = await broker.call<string | null>("user.firstAdminPassword");
    if (made !== null) {
      await keepAdminPassword(config.dataDir, { email: config.adminEmail, password: made });
      say(`admin ${config.adminEmail}, password ${made} (made now, kept in ${config.dataDir}/admin.json)`);
    }
    const api = broker.getLocalService("api") as { server?: { address(): AddressInfo | null } } | undefined;
    const port = api?.server?.address()?.port;
    if (port === undefined) throw new Error("the shop has no gateway: SERVICES leaves out api");
    return { url: `http://localhost:${port}`, stop };
  } catch (err) {
    await stop();
    throw err;
  }
}
