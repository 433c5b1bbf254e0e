/** Starts the shop, or a part of it, inside a test file: its own databases, a free port, a quiet log. */
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { jest } from "@jest/globals";
import type { ServiceName } from "../../config/index.ts";
import type { ShopBroker } from "../../scripts/shop.ts";
import { cloneDatabases, DIRECTORY_VARIABLE, type TestDatabases } from "./databases.ts";

export const ADMIN = { email: "admin@example.com", password: "the admin of the tests" };

export interface TestShop {
  readonly broker: ShopBroker;
  /** `http://127.0.0.1:PORT` of the gateway; throws where the api service was not started. */
  readonly url: string;
  readonly databases: TestDatabases;
  /** Stops the broker and drops the databases, unless they were passed in. Throws where a connection leaked. */
  stop(): Promise<void>;
}

export interface TestShopOptions {
  /** All by default. */
  services?: readonly ServiceName[];
  /** Variables on top of the harness's. */
  env?: Readonly<Record<string, string>>;
  /** Databases to use, which stay: for a second shop on the same data, or a restart. */
  databases?: TestDatabases;
}

/**
 * The configuration is read anew from the environment set here, so each call may differ. It resets Jest's module
 * registry for that: what the test file imported before is another copy than what the shop runs.
 */
export async function startTestShop(options: TestShopOptions = {}): Promise<TestShop> {
  const databases = options.databases ?? (await cloneDatabases());
  const dataDir = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "shop-"));
  const cleanUp = async (): Promise<void> => {
    await rm(dataDir, { recursive: true });
    if (!options.databases) await databases.drop();
  };
  try {
    const broker = await createBroker(options, databases, dataDir);
    try {
      await broker.start();
    } catch (err) {
      await broker.stop();
      throw err;
    }
    return {
      broker,
      databases,
      get url() {
        return urlOf(broker);
      },
      async stop() {
        await broker.stop();
        await cleanUp();
      },
    };
  } catch (err) {
    // Where the clean-up fails too, the first error is the one to read.
    await cleanUp().catch((also) => console.error("after a failed start:", also));
    throw err;
  }
}

async function createBroker(options: TestShopOptions, databases: TestDatabases, dataDir: string) {
  const before = { ...process.env };
  Object.assign(process.env, {
    NODE_ENV: "test",
    PORT: "0",
    GRPC_PORT: "0",
    LOGLEVEL: "fatal",
    BCRYPT_COST: "4",
    ADMIN_EMAIL: ADMIN.email,
    ADMIN_PASSWORD: ADMIN.password,
    DATA_DIR: dataDir,
    NAMESPACE: path.basename(dataDir),
    ...variablesOf(databases),
    ...options.env,
  });
  jest.resetModules();
  try {
    const { createShop } = await import("../../scripts/shop.ts");
    return await createShop(options.services && { services: options.services });
  } finally {
    // A variable that is added must go too, so that the next shop of this file does not inherit it.
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

function variablesOf(databases: TestDatabases): Record<string, string> {
  return Object.fromEntries(
    Object.entries(databases.urls).map(([name, url]) => [
      `DATABASE_URL_${name.toUpperCase().replaceAll("-", "_")}`,
      url,
    ]),
  );
}

function urlOf(broker: ShopBroker): string {
  const api = broker.getLocalService("api") as { server?: { address(): AddressInfo | null } } | undefined;
  const port = api?.server?.address()?.port;
  if (!port) throw new Error("this shop has no gateway: start it with the service api");
  return `http://127.0.0.1:${port}`;
}
