/** A process that is told to stop while a server that it needs does not answer, by an operator, a kubelet or a terminal. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { databaseOf, TcpProxy } from "../../bench/drills/proxy.ts";
import { environmentName } from "../../config/index.ts";
import { STOP_MS_MAX } from "../../lib/stop.ts";
import { freePort } from "../../scripts/ports.ts";
import { cloneDatabases, DIRECTORY_VARIABLE } from "../harness/databases.ts";
import { ADMIN } from "../harness/shop.ts";
import { until } from "../support/until.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

test("a shop whose payment database is silent says so, stops in time, and does not call it clean", async () => {
  const databases = await cloneDatabases();
  undo.push(() => databases.drop());
  const { hostname, port } = new URL(databases.server);
  const proxy = await TcpProxy.listen({
    target: { host: hostname, port: Number(port) },
    nameOf: databaseOf,
  });
  undo.push(() => proxy.close());
  const httpPort = await freePort();
  const child = spawn(process.execPath, ["scripts/start.ts"], {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH ?? "",
      NODE_ENV: "test",
      LOGLEVEL: "warn",
      BCRYPT_COST: "4",
      DATABASE_POOL_MAX: "2", // the test server has other users
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
      PORT: String(httpPort),
      GRPC_PORT: "0",
      DATA_DIR: await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] as string, "stop-")),
      ...Object.fromEntries(
        Object.entries(databases.urls).map(([name, url]) => [
          `DATABASE_URL_${environmentName(name)}`,
          name === "payment" ? Object.assign(new URL(url), { port: String(proxy.port) }).href : url,
        ]),
      ),
    },
  });
  const ended = once(child, "exit");
  undo.push(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data: Buffer) => {
      output += data;
    });
  const isReady = () =>
    fetch(`http://127.0.0.1:${httpPort}/health/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until("it is ready", isReady, 60_000, 50);

  proxy.lay(proxy.names[0] as string, { cut: ["up", "down"] });
  // A query is on its way, and no answer.
  await until("it has noticed", async () => !(await isReady()), 30_000, 50);
  const toldAt = performance.now();
  child.kill("SIGTERM");
  const [code] = await ended;
  expect(performance.now() - toldAt).toBeLessThan(STOP_MS_MAX);
  expect(output).toMatch(/stopping: after 2\.\d s waits for .*the loop /);
  expect(output).toMatch(/stopping: after 3\.\d s goes on without .*the loop /);
  expect(output).toMatch(/goes on without \d connections of payment that are in use/);
  expect(code).toBe(1);
}, 120_000);

test.each(["SIGINT", "SIGHUP"] as const)(
  "a start that waits for its message server leaves no PostgreSQL behind at a %s",
  async (signal) => {
    const dataDir = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] as string, "stop-"));
    const child = spawn(process.execPath, ["scripts/start.ts"], {
      cwd: ROOT,
      env: {
        ...{ PATH: process.env.PATH, HOME: dataDir, NODE_ENV: "test", PORT: "0", GRPC_PORT: "0" },
        ...{ DATA_DIR: dataDir, TRANSPORTER: `nats://127.0.0.1:${await freePort()}` },
      },
    });
    const ended = once(child, "exit");
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data: Buffer) => {
        output += data;
      });
    try {
      await until("it waits for NATS", () => output.includes("NATS cannot be reached"), 60_000, 50);
      // As of a terminal that is closed: nobody reads what the stop says.
      if (signal === "SIGHUP") for (const stream of [child.stdout, child.stderr]) stream.destroy();
      child.kill(signal);
      expect(await ended).toEqual([0, null]);
      expect(existsSync(path.join(dataDir, "postgres", "postmaster.pid"))).toBe(false);
    } finally {
      child.kill("SIGKILL");
    }
  },
  120_000,
);
