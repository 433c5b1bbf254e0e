/**
 * PostgreSQL itself is killed under load, without a checkpoint (as pg_ctl stop -m immediate does), and started again;
 * the shop's processes live. A server of the test's own: the shared one serves everybody else.
 */
import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { databaseName } from "../../config/database.ts";
import { ensurePostgres, type Postgres } from "../../scripts/postgres.ts";
import { birthOf } from "../../scripts/processes.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { DIRECTORY_VARIABLE, type TestDatabases, urlOfDatabase } from "../harness/databases.ts";
import { until } from "../support/until.ts";
import { type Answer, CHECKOUT, Fleet } from "./fleet/fleet.ts";
import { describeFleet } from "./fleet/lanes.ts";

const CLIENTS = 8;
/** So many orders between two kills prove that the shop works again. */
const ORDERS = 25;
/** Loops that failed meanwhile pause for up to 5 s before they try again. */
const SETTLED_MS = 15_000;

describeFleet("PostgreSQL", () => {
  let dataDir: string;
  let postgres: Postgres;
  let nats: Server;
  let fleet: Fleet;

  // Of what a killed server loses only what it had not written yet counts here; the machine itself stays up.
  const start = () => ensurePostgres({ dataDir, settings: { fsync: "off", synchronous_commit: "on" } });

  beforeAll(async () => {
    dataDir = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] as string, "killed-"));
    [postgres, nats] = await Promise.all([start(), startNats()]);
    const urls = Object.fromEntries(
      CHECKOUT.map((name) => [name, urlOfDatabase(postgres.url, databaseName(name))]),
    ) as Record<string, string>;
    const databases: TestDatabases = {
      server: postgres.url,
      urls,
      urlOf: (name) => urls[name] as string,
      drop: async () => undefined, // they go with the server
    };
    const nodes = {
      front: ["order", "transaction-manager", "notification"],
      back: ["product", "payment"],
    } as const;
    fleet = await Fleet.start({ nodes, nats, databases });
  }, 120_000);
  afterAll(async () => {
    await fleet?.stop();
    await nats?.stop();
    await postgres?.stop();
    await rm(dataDir, { recursive: true, force: true });
  }, 30_000);

  async function killAndStart(): Promise<void> {
    const { pid, url } = postgres;
    process.kill(pid, "SIGQUIT");
    await until("PostgreSQL has ended", () => birthOf(pid) === undefined);
    await postgres.stop(); // leaves it
    postgres = await start();
    expect(postgres.url).toBe(url);
  }

  test("PostgreSQL dies twice under load: no 201 is lost, nothing stays in doubt, every key has its one order", async () => {
    const front = fleet.node("front");
    const productId = await fleet.addProduct(front);
    const answers: Answer[] = [];
    let isOpen = true;
    let underWay = 0;
    const clients = Array.from({ length: CLIENTS }, async () => {
      for (; isOpen; underWay--) {
        underWay++;
        answers.push(await fleet.buy(front, { productId }));
      }
    });
    for (let kill = 1; kill <= 2; kill++) {
      const enough = fleet.acknowledged.size + ORDERS;
      await until(`${enough} orders`, () => fleet.acknowledged.size >= enough, 30_000);
      expect(underWay).toBeGreaterThan(0);
      await killAndStart();
    }
    const enough = fleet.acknowledged.size + ORDERS;
    await until(`${enough} orders`, () => fleet.acknowledged.size >= enough, 30_000);
    isOpen = false;
    await Promise.all(clients);

    await fleet.settled(SETTLED_MS);
    await fleet.keysHold(front, answers);
    await fleet.settled();
  }, 120_000);
});
