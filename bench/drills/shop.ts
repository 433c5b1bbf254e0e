/** A shop of the drill's own: exactly what npm start runs, as a child process, on a data directory that goes with it. */
import type { ChildProcess } from "node:child_process";
import path from "node:path";
import pg from "pg";
import { databaseName, embeddedAddressFile } from "../../config/database.ts";
import { DATABASES, type DatabaseName } from "../../config/index.ts";
import { type AuditOptions, audit } from "../../scripts/audit/audit.ts";
import type { AuditReport } from "../../scripts/audit/report.ts";
import { freePort } from "../../scripts/ports.ts";
import { findPostmaster, readRecord } from "../../scripts/postgres.record.ts";
import { ShopClient } from "../../scripts/replay/shop-client.ts";
import { endOf, endPostmaster, hasEnded, type Site } from "./site.ts";

export const ADMIN = { email: "admin@example.com", password: "the admin of the drills" };

// The first start makes a database cluster, on a busy machine too.
const READY_MS_MAX = 120_000;

export class Shop {
  readonly url: string;
  readonly dataDir: string;
  readonly #site: Site;
  readonly #port: number;
  readonly #env: Record<string, string>;
  #process: ChildProcess | undefined;

  private constructor(site: Site, port: number, env: Record<string, string>) {
    this.#site = site;
    this.#port = port;
    this.#env = env;
    this.url = `http://127.0.0.1:${port}`;
    this.dataDir = site.dataDir("data");
  }

  /** Starts a fresh one. `env`: on top of what all drills want. */
  static async open(site: Site, env: Record<string, string> = {}): Promise<Shop> {
    const shop = new Shop(site, await freePort(), env);
    site.say(`starting a shop at ${shop.url}, data in ${shop.dataDir}`);
    site.say(`the shop is ready after ${await shop.start()} ms`);
    return shop;
  }

  /** Resolves when the shop says that it is ready, with how long that took, in milliseconds. */
  async start(): Promise<number> {
    const startedAt = performance.now();
    this.#process = this.#site.run(process.execPath, ["scripts/start.ts"], "shop", {
      env: {
        DATA_DIR: this.dataDir,
        PORT: String(this.#port),
        GRPC_PORT: "0",
        NODE_ENV: "development",
        LOGLEVEL: "warn",
        BCRYPT_COST: "4", // drills wait for orders, not for password hashes
        ADMIN_EMAIL: ADMIN.email,
        ADMIN_PASSWORD: ADMIN.password,
        ...this.#env,
      },
    });
    await untilReady(this.#site, this.url, this.#process, "shop");
    return Math.round(performance.now() - startedAt);
  }

  /** kill -9 of the whole process. PostgreSQL, a process of its own, goes on. */
  async kill(): Promise<void> {
    const child = this.#running();
    child.kill("SIGKILL");
    const ended = await endOf(child);
    if (ended !== "SIGKILL") throw new Error(`the shop had ended by itself, with ${ended}`);
  }

  /** Stops PostgreSQL at once, without a checkpoint. */
  async killPostgres(): Promise<void> {
    const postmaster = findPostmaster(path.join(this.dataDir, "postgres"));
    if (!postmaster) throw new Error(`no PostgreSQL runs in ${this.dataDir}`);
    await endPostmaster(postmaster);
  }

  /** As Ctrl-C does; a shop that does not end cleanly fails the drill. */
  async stop(): Promise<void> {
    const child = this.#running();
    child.kill("SIGTERM");
    const ended = await endOf(child);
    if (ended !== 0) throw new Error(`the shop ended with ${ended}: ${this.#site.tailOf("shop")}`);
  }

  async audit(options?: AuditOptions): Promise<AuditReport> {
    const urls = await Promise.all(DATABASES.map(async (name) => [name, await this.#urlOf(name)]));
    return audit(Object.fromEntries(urls), options);
  }

  async query<Row>(name: DatabaseName, text: string, values: unknown[] = []): Promise<Row[]> {
    const client = new pg.Client({ connectionString: await this.#urlOf(name) });
    await client.connect();
    try {
      return (await client.query(text, values)).rows as Row[];
    } finally {
      await client.end();
    }
  }

  /** Looked up each time: a PostgreSQL that was started again may have another port. */
  async #urlOf(name: DatabaseName): Promise<string> {
    const record = await readRecord(this.dataDir);
    if (!record) throw new Error(`${embeddedAddressFile(this.dataDir)} cannot be read`);
    return Object.assign(new URL(record.url), { pathname: `/${databaseName(name)}` }).href;
  }

  #running(): ChildProcess {
    if (!this.#process || hasEnded(this.#process))
      throw new Error(`the shop has ended by itself: ${this.#site.tailOf("shop")}`);
    return this.#process;
  }
}

/** Waits for 200 from /health/ready. Throws where `child` ends first, with the end of its log. */
export async function untilReady(site: Site, url: string, child: ChildProcess, log: string): Promise<void> {
  const client = new ShopClient(url, { sockets: 1 });
  const givesUpAt = performance.now() + READY_MS_MAX;
  try {
    for (;;) {
      const answer = await client.once({ method: "GET", path: "/health/ready" }).catch(() => undefined);
      if (answer?.status === 200) return;
      if (hasEnded(child) || performance.now() > givesUpAt)
        throw new Error(
          `the shop ${hasEnded(child) ? `ended with ${await endOf(child)}` : `was not ready after ${READY_MS_MAX / 1000} s`}: ${site.tailOf(log)}`,
        );
      await site.pause(20);
    }
  } finally {
    client.close();
  }
}

/** In short, for the progress of a drill. */
export const auditLine = ({ ok, inDoubt, invariants }: AuditReport): string =>
  ok
    ? `audit clean, in doubt ${inDoubt}`
    : `AUDIT VIOLATED: ${invariants
        .flatMap(({ violations }) => violations)
        .slice(0, 5)
        .join("; ")}`;
