/** `npm run cluster` as a person uses it: processes of its own, commands beside it, kill -9, a Ctrl-C. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import pg from "pg";
import { environmentName } from "../../config/index.ts";
import { audit } from "../../scripts/audit/audit.ts";
import type { ClusterStatus } from "../../scripts/cluster/cluster.ts";
import { freePort } from "../../scripts/ports.ts";
import { birthOf } from "../../scripts/processes.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import { cloneDatabases, DIRECTORY_VARIABLE, type TestDatabases } from "../harness/databases.ts";
import { sharedKafka } from "../harness/kafka.ts";
import { describeWith } from "../harness/servers.ts";
import { ADMIN } from "../harness/shop.ts";
import { type Reply, Shopper, type User } from "../support/client.ts";
import { createClient, produce } from "../support/kafka.ts";
import { until } from "../support/until.ts";

const START_MS_MAX = 120_000;

const describe = await describeWith(startNats);
const kafka = await sharedKafka();

describe("a worker cluster", () => {
  let databases: TestDatabases;
  let env: Record<string, string>;
  let supervisor: ChildProcess;
  let output = "";
  let shopper: Shopper;
  let user: User;
  let product: { id: string };

  beforeAll(async () => {
    databases = await cloneDatabases();
    const port = await freePort();
    env = {
      PATH: process.env.PATH ?? "",
      NODE_ENV: "test",
      LOGLEVEL: "warn",
      BCRYPT_COST: "4",
      DATABASE_POOL_MAX: "3", // the test server has other users
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
      PORT: String(port),
      GRPC_PORT: "0",
      DATA_DIR: await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] as string, "cluster-")),
    };
    for (const [name, url] of Object.entries(databases.urls))
      env[`DATABASE_URL_${environmentName(name)}`] = url;
    // Where there is one to have: a Kafka of its own, not the one that is shared.
    supervisor = run("--scale", "order=2", ...(kafka.brokers ? ["--kafka"] : []));
    for (const stream of [supervisor.stdout, supervisor.stderr])
      stream?.on("data", (data: Buffer) => {
        output += data;
      });
    await until(
      "the shop is open",
      () => output.includes("The shop is open") || ended(supervisor),
      START_MS_MAX,
    );
    if (ended(supervisor)) throw new Error(output);
    shopper = new Shopper(`http://127.0.0.1:${port}`);
    product = await shopper.addProduct(await shopper.login(ADMIN.email, ADMIN.password), { stock: 100_000 });
    user = await shopper.register();
  }, START_MS_MAX);

  afterAll(async () => {
    shopper?.close();
    if (supervisor && !ended(supervisor)) {
      supervisor.kill("SIGKILL");
      await once(supervisor, "exit");
    }
    await databases?.drop();
    await rm(env.DATA_DIR as string, { recursive: true });
  }, START_MS_MAX);

  function run(...args: string[]): ChildProcess {
    return spawn(process.execPath, ["scripts/cluster.ts", ...args], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  async function command(...args: string[]): Promise<string> {
    const child = run(...args);
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (data: Buffer) => {
        said += data;
      });
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}: ${said}\n${output}`);
    return said;
  }

  const status = async (): Promise<ClusterStatus> => JSON.parse(await command("status", "--json"));

  it("has two gateways on one port, and every other service in a process of its own", async () => {
    const { workers, failing } = await status();
    expect(failing).toEqual([]);
    expect(workers.map(({ service }) => service).sort()).toEqual(
      ["api", "api", "auth", "notification", "order", "order", "payment", "product", "user"].sort(),
    );
    expect(new Set(workers.map(({ pid }) => pid)).size).toBe(9);
    for (const { state, node, nodeID, pid } of workers) {
      expect(state).toBe("ready");
      expect(node).toMatchObject({ nodeID, pid, status: "ready", breakers: [] });
    }
    const order = workers.find(({ service }) => service === "order");
    expect(order?.node?.services).toEqual(expect.arrayContaining(["order", "transaction-manager"]));
    expect(order?.node?.mailboxes).toContainEqual(
      expect.objectContaining({ service: "transaction-manager", name: "decide", depth: 0 }),
    );
    const table = await command("status");
    expect(table).toMatch(/order +order-1 +\d+ +ready +empty +-/);
  });

  kafka.describe("with --kafka", () => {
    it("starts a Kafka whose topics stay in its data", async () => {
      const { kafkaBrokers } = await status();
      expect(await command("status")).toContain(`events over Kafka at ${kafkaBrokers}`);
      const client = createClient(kafkaBrokers as string);
      await produce(client, "any", ["1"]);
      expect(await readdir(path.join(env.DATA_DIR as string, "kafka", "data"))).toContain("any-0");
    });
  });

  it("sells across its processes", async () => {
    const reply = await shopper.buy(user, product.id);
    expect(reply).toMatchObject({ status: 201, body: { status: "confirmed" } });
    expect(await shopper.get(`/orders/${reply.body.id}`, user.token)).toMatchObject({ status: 200 });
    expect((await shopper.buy(user, product.id, { card: "tok_declined" })).status).toBe(402);
  });

  it("refuses a second one on the same data", async () => {
    await expect(command()).rejects.toThrow(/a cluster runs on .* already/);
  });

  it("starts another worker in the place of one that was killed", async () => {
    const before = (await status()).workers.find(({ service }) => service === "product");
    process.kill(before?.pid as number, "SIGKILL");
    const successor = await until(
      "another is ready",
      async () =>
        (await status()).workers.find(
          ({ service, state, pid }) => service === "product" && state === "ready" && pid !== before?.pid,
        ),
      30_000,
    );
    expect(successor.nodeID).not.toBe(before?.nodeID);
    expect(output).toContain(`${before?.nodeID} ended with SIGKILL`);
    await until("it sells again", async () => (await shopper.buy(user, product.id)).status === 201);
  }, 60_000);

  it("is restarted, every worker of it, while customers notice nothing", async () => {
    const before = (await status()).workers.map(({ pid }) => pid);
    let over = false;
    const replies: Reply[] = [];
    const customer = async (ask: () => Promise<Reply>): Promise<void> => {
      while (!over) replies.push(await ask());
    };
    const purchases = customer(() => shopper.buy(user, product.id));
    try {
      expect(await command("restart")).toContain("every worker was replaced");
    } finally {
      over = true;
    }
    await purchases;
    expect(replies.filter(({ status: code }) => code >= 400)).toEqual([]);
    expect(replies.length).toBeGreaterThan(50);
    const after = (await status()).workers.map(({ pid }) => pid);
    expect(after.length).toBe(before.length);
    expect(after.filter((pid) => before.includes(pid))).toEqual([]);
    expect(before.filter((pid) => birthOf(pid) !== undefined)).toEqual([]);
  }, 120_000);

  it("answers what it has accepted, and leaves no process behind, when it is told to stop", async () => {
    const { workers } = await status();
    const slow = shopper.buy(user, product.id, { card: "tok_slow" });
    await until("the order is on its way", () => isPending(databases.urlOf("order")));
    supervisor.kill("SIGINT");
    expect((await slow).status).toBe(201);
    await once(supervisor, "exit");
    expect(supervisor.exitCode).toBe(0);
    expect(workers.filter(({ pid }) => birthOf(pid) !== undefined)).toEqual([]);
    await expect(command("status")).rejects.toThrow(/no cluster runs on/);
    expect(await audit(databases.urls as never)).toMatchObject({ ok: true, inDoubt: 0 });
  }, 60_000);
});

async function isPending(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query("select 1 from orders where state = 'prepared'");
  await client.end();
  return rows.length > 0;
}

const ended = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;
