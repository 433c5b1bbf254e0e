/** The points ledger and the shop as processes of their own, each to be killed and started again where it was. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import pg from "pg";
import { DATABASES } from "../../config/index.ts";
import { freePort } from "../../scripts/ports.ts";
import { cloneDatabases, type TestDatabases, urlOfDatabase } from "../harness/databases.ts";
import { ADMIN } from "../harness/shop.ts";
import { GrpcClient } from "../support/grpc.ts";
import { until } from "../support/until.ts";

interface Ports {
  rest: number;
  grpc: number;
  ledger: number;
}

const TOKEN = "the-participants-token";

export class Sides {
  readonly databases: TestDatabases;
  readonly url: string;
  readonly ledger: pg.Pool;
  readonly #ports: Ports;
  readonly #dataDir: string;
  readonly #ledgerUrl: string;
  readonly #running = new Map<"shop" | "ledger", ChildProcess>();

  private constructor(databases: TestDatabases, ports: Ports, dataDir: string, ledgerUrl: string) {
    this.databases = databases;
    this.#ports = ports;
    this.#dataDir = dataDir;
    this.#ledgerUrl = ledgerUrl;
    this.url = `http://127.0.0.1:${ports.rest}`;
    this.ledger = new pg.Pool({ connectionString: ledgerUrl, max: 2 });
  }

  static async open(): Promise<Sides> {
    const databases = await cloneDatabases();
    const name = `points_${path.basename(databases.urlOf("order")).slice(-8)}`;
    await admin(databases.server, `create database ${name}`);
    const ports = { rest: await freePort(), grpc: await freePort(), ledger: await freePort() };
    const dataDir = await mkdtemp(path.join(tmpdir(), "shop-"));
    const sides = new Sides(databases, ports, dataDir, urlOfDatabase(databases.server, name));
    await Promise.all([sides.start("ledger"), sides.start("shop")]);
    return sides;
  }

  /** Resolves when it serves. */
  async start(side: "shop" | "ledger"): Promise<void> {
    const file = side === "shop" ? "scripts/start.ts" : "examples/points-participant/server.ts";
    const child = spawn(process.execPath, [file], {
      stdio: ["ignore", side === "shop" ? "ignore" : "pipe", "ignore"],
      env: { ...process.env, ...(side === "shop" ? this.#shopEnvironment() : this.#ledgerEnvironment()) },
    });
    this.#running.set(side, child);
    if (side === "ledger") {
      await once(child.stdout as NodeJS.EventEmitter, "data");
      child.stdout?.destroy();
      return;
    }
    const isReady = () =>
      fetch(`${this.url}/health/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until("the shop is ready", isReady, 60_000);
  }

  /** Resolves when what the ledger has answered is on its way: an answer to a question asked later has come. */
  async answersAreOut(): Promise<void> {
    const client = new GrpcClient(this.#ports.ledger);
    const nothing = { participant: "points", watermark: "00000000-0000-0000-0000-000000000000", limit: 1 };
    for (let i = 0; i < 2; i++) await client.call("shop.v1.Participant/Prune", nothing, { token: TOKEN });
    client.close();
  }

  /** kill -9. */
  async kill(side: "shop" | "ledger"): Promise<void> {
    const child = this.#running.get(side) as ChildProcess;
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }

  async points(userId: string): Promise<number> {
    const { rows } = await this.ledger.query("select points from accounts where user_id = $1", [userId]);
    return Number(rows[0]?.points ?? 0);
  }

  async votes(state: string): Promise<string[]> {
    const { rows } = await this.ledger.query("select tx_id from votes where state = $1 order by tx_id", [
      state,
    ]);
    return rows.map((row) => row.tx_id);
  }

  async close(): Promise<void> {
    for (const side of this.#running.keys()) await this.kill(side);
    await this.ledger.end();
    const name = new URL(this.#ledgerUrl).pathname.slice(1);
    await admin(this.databases.server, `drop database ${name} with (force)`);
    // The killed shop's connections end a moment later; they are no leak of a test.
    await until("PostgreSQL has seen the end of the shop", async () => {
      const name = new URL(this.databases.urlOf("order")).pathname.slice(1);
      const { rows } = await admin(
        this.databases.server,
        `select 1 from pg_stat_activity where datname like '%${name.slice(-8)}'`,
      );
      return rows.length === 0;
    });
    await this.databases.drop();
    await rm(this.#dataDir, { recursive: true });
  }

  #ledgerEnvironment(): NodeJS.ProcessEnv {
    return {
      PORT: String(this.#ports.ledger),
      DATABASE_URL: this.#ledgerUrl,
      SHOP: `127.0.0.1:${this.#ports.grpc}`,
      PARTICIPANT_TOKEN: TOKEN,
    };
  }

  #shopEnvironment(): NodeJS.ProcessEnv {
    return {
      ...Object.fromEntries(
        DATABASES.map((name) => [
          `DATABASE_URL_${name.toUpperCase().replaceAll("-", "_")}`,
          this.databases.urlOf(name),
        ]),
      ),
      NODE_ENV: "test",
      LOGLEVEL: "fatal",
      PORT: String(this.#ports.rest),
      GRPC_PORT: String(this.#ports.grpc),
      DATA_DIR: this.#dataDir,
      BCRYPT_COST: "4",
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
      FOREIGN_PARTICIPANTS: `points=grpc://127.0.0.1:${this.#ports.ledger}`,
      PARTICIPANT_TOKEN: TOKEN,
    };
  }
}

async function admin(server: string, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: urlOfDatabase(server, "postgres") });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}
