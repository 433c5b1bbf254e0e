/**
 * The whole shop on a disk that fills up under its PostgreSQL, which is then killed and cannot recover: customers hear
 * 503 or 504, and when there is room again the shop is ready by itself and every order can be repeated under its key.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmdirSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { databaseName } from "../../config/database.ts";
import { DATABASES, type DatabaseName } from "../../config/index.ts";
import { audit } from "../../scripts/audit/audit.ts";
import { freePort } from "../../scripts/ports.ts";
import { ADMIN } from "../harness/shop.ts";
import { Shopper } from "../support/client.ts";
import { until } from "../support/until.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const STOCK = 10_000;

/** A small file system of its own, or undefined where this user may not make one. */
function mountSmallDisk(): string | undefined {
  const directory = mkdtempSync(path.join(tmpdir(), "shop-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=300m", "tmpfs", directory], { stdio: "ignore" });
    return directory;
  } catch {
    rmdirSync(directory);
    return undefined;
  }
}

const disk = mountSmallDisk();
const undo: (() => unknown)[] = [];
afterAll(async () => {
  const failed: unknown[] = [];
  for (const step of undo.splice(0).reverse()) {
    try {
      await step();
    } catch (err) {
      failed.push(err);
    }
  }
  expect(failed).toEqual([]);
});

let client: Shopper;
let url: string;
let output = "";
const isReady = () =>
  fetch(`${url}/health/ready`).then(
    ({ ok }) => ok,
    () => false,
  );
const record = () => JSON.parse(readFileSync(path.join(disk as string, "postgres.json"), "utf8"));

beforeAll(async () => {
  if (!disk) return;
  undo.push(() => rmdirSync(disk));
  undo.push(() => execFileSync("umount", [disk]));
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const shop = spawn(process.execPath, ["scripts/start.ts"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env.PATH ?? "",
      NODE_ENV: "test",
      BCRYPT_COST: "4",
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
      PORT: String(port),
      GRPC_PORT: "0",
      DATA_DIR: disk,
    },
  });
  for (const stream of [shop.stdout, shop.stderr])
    stream.on("data", (data: Buffer) => {
      output += data;
    });
  const ended = once(shop, "exit");
  undo.push(async () => {
    shop.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
  });
  client = new Shopper(url);
  undo.push(() => client.close());
  await until("the shop is ready", isReady, 60_000, 100);
}, 90_000);

/** It may have ended already: it cannot go on where it cannot write its log. */
function killServer(): void {
  try {
    if (record().pid) process.kill(record().pid, "SIGKILL");
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== "ESRCH") throw err;
  }
}

async function fill(file: string): Promise<void> {
  const handle = await open(file, "w");
  const block = Buffer.alloc(1 << 20);
  try {
    for (;;) await handle.write(block);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== "ENOSPC") throw err;
  } finally {
    await handle.close();
  }
}

(disk ? test : test.skip)(
  "a full disk loses nothing, and is nobody's fault but the disk's",
  async () => {
    const admin = await client.login(ADMIN.email, ADMIN.password);
    const ann = await client.register();
    const { id } = await client.addProduct(admin, { stock: STOCK });
    const buyAll = (keys: readonly string[]) =>
      Promise.all(keys.map(async (key) => (await client.buy(ann, id, { key })).status));

    const filler = path.join(disk as string, "filler");
    await fill(filler);
    const keys: string[] = [];
    const whileFull: number[] = [];
    await until("no more can be written", async () => {
      const more = Array.from({ length: 20 }, (_, i) => `key-${keys.length + i}`);
      keys.push(...more);
      whileFull.push(...(await buyAll(more)));
      return whileFull.some((status) => status >= 500);
    });
    killServer();
    whileFull.push(...(await buyAll(keys)));
    expect(whileFull.filter((status) => ![201, 202, 409, 503, 504].includes(status))).toEqual([]);
    await until(
      "it was tried to start the server",
      () => /cannot be started|runs again/.test(output),
      20_000,
    );

    await rm(filler);
    await until("the shop is ready again", isReady, 40_000, 100);
    await until(
      "all are bought",
      async () => (await buyAll(keys)).every((status) => status === 201),
      20_000,
      200,
    );
    expect((await client.quiet(id)).available).toBe(STOCK - keys.length);
    const urls = Object.fromEntries(
      DATABASES.map((name) => [name, `${record().url}/${databaseName(name)}`]),
    ) as Record<DatabaseName, string>;
    await until("nothing is in doubt", async () => (await audit(urls)).inDoubt === 0, 20_000, 500);
    expect((await audit(urls)).ok).toBe(true);
  },
  150_000,
);
