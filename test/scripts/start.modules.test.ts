/** What a node loads at its start: in a process of its own, because this one has loaded all sorts of things. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { expect, it } from "@jest/globals";

/** Creates a node as a start does, and says which packages were loaded, and whether Node's own undici was. */
const PROGRAM = `
  import { createRequire } from "node:module";
  const { createShop } = await import("./scripts/shop.ts");
  await createShop({ services: JSON.parse(process.env.SERVICES_OF_TEST), overrides: { logger: false } });
  const { cache } = createRequire(import.meta.url);
  const loaded = Object.keys(cache).map((file) => /node_modules.((?:@[^\\/\\\\]+.)?[^\\/\\\\]+)/.exec(file)?.[1]);
  const own = process.moduleLoadList.some((name) => name.includes("undici")) ? ["undici"] : [];
  process.stdout.write(JSON.stringify([...new Set(loaded), ...own]));
`;

async function loadedBy(services: string[]): Promise<string[]> {
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", PROGRAM], {
    env: { ...process.env, METRICS_PORT: "0", SERVICES_OF_TEST: JSON.stringify(services) },
  });
  return JSON.parse(stdout) as string[];
}

it.each([[["payment"]], [["user", "notification"]]])(
  "loads what %j need, and not what others do",
  async (services) => {
    const loaded = await loadedBy(services);
    expect(loaded).toEqual(expect.arrayContaining(["moleculer", "pg"]));
    const unneeded = ["undici", "@grpc/grpc-js", "ioredis", "jsonwebtoken", "knex", "kafkajs", "nodemailer"];
    expect(loaded.filter((name) => unneeded.includes(name))).toEqual([]);
  },
);

/** Starts a node that needs no server, and says when it has started; it ends when it is told to. */
const STARTED = `
  const { createShop } = await import("./scripts/shop.ts");
  const broker = await createShop({ services: ["api"], overrides: { logger: false } });
  await broker.start();
  const { readdirSync } = await import("node:fs");
  process.stdout.write(String(readdirSync(process.env.NODE_COMPILE_CACHE, { recursive: true }).length));
  await broker.stop();
  process.exit();
`;

it("keeps what Node compiled when it has started, and leaves next to nothing of it to its end", async () => {
  const directory = await mkdtemp(path.join(tmpdir(), "shop-compiled-"));
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", STARTED], {
    env: { ...process.env, METRICS_PORT: "0", PORT: "0", GRPC_PORT: "0", NODE_COMPILE_CACHE: directory },
  });
  const inAll = (await readdir(directory, { recursive: true })).length;
  await rm(directory, { recursive: true });
  expect(inAll).toBeGreaterThan(300);
  expect(inAll - Number(stdout)).toBeLessThan(inAll / 50);
});
