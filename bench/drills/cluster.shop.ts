/**
 * A cluster of the drill's own: two replicas of every service over a NATS server and a PostgreSQL that are its own too,
 * and customers from a program of their own (generator.ts). All of it ends with the site.
 */
import pg from "pg";
import { databaseName } from "../../config/database.ts";
import { DATABASES, type DatabaseName, SERVICES, type ServiceName } from "../../config/index.ts";
import { type AuditOptions, audit } from "../../scripts/audit/audit.ts";
import type { AuditReport } from "../../scripts/audit/report.ts";
import { type Cluster, startCluster, type WorkerView } from "../../scripts/cluster/cluster.ts";
import { ensurePostgres } from "../../scripts/postgres.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { type BeginOptions, Crowd, type Sent } from "./crowd.ts";
import { ADMIN } from "./shop.ts";
import { cleanEnvironment, type Site } from "./site.ts";

const REPLICAS = 2;
/** Order nodes host a transaction manager each. */
export const PARTS = SERVICES.filter((name) => name !== "transaction-manager");

/** Where the cluster finds its servers; a drill may put something between. */
export interface Links {
  postgres: URL;
  nats: URL;
}

export type Replicas = Readonly<Partial<Record<ServiceName, number>>>;

export interface OpenOptions {
  /** What is put between, or beside: the variables that lead there. */
  via?: (links: Links) => Promise<Record<string, string>>;
  /** Where two are not wanted. */
  replicas?: Replicas;
}

export class ClusterShop {
  readonly cluster: Cluster;
  nats: Server;
  readonly #site: Site;
  readonly #postgres: URL;
  readonly #replicas: Replicas;
  readonly #crowd: Crowd;
  readonly #orderIds: string[] = [];

  private constructor(
    site: Site,
    parts: { cluster: Cluster; nats: Server; postgres: URL; replicas: Replicas; crowd: Crowd },
  ) {
    const { cluster, nats, postgres, replicas, crowd } = parts;
    this.#site = site;
    this.cluster = cluster;
    this.nats = nats;
    this.#postgres = postgres;
    this.#replicas = replicas;
    this.#crowd = crowd;
  }

  static async open(site: Site, { via, replicas: few = {} }: OpenOptions = {}): Promise<ClusterShop> {
    const replicas = { ...Object.fromEntries(PARTS.map((name) => [name, REPLICAS])), ...few };
    const dataDir = site.dataDir("data");
    const log = (line: string) => site.log("cluster", line);
    site.say(`starting ${PARTS.map((name) => `${replicas[name]} ${name}`).join(", ")}, data in ${dataDir}`);
    const nats = await startNats({ log });
    let shop: ClusterShop | undefined;
    site.onClose(() => (shop?.nats ?? nats).stop());
    if (nats.pid === undefined)
      throw new Error("a drill breaks its NATS server, so it needs one of its own: unset NATS_URL");
    const postgres = await ensurePostgres({ dataDir, log });
    const links = { postgres: new URL(postgres.url), nats: new URL(nats.url) };
    const starting = startCluster({
      env: {
        ...cleanEnvironment(),
        DATA_DIR: dataDir,
        DATABASE_URL: postgres.url,
        TRANSPORTER: nats.url,
        PORT: "0",
        GRPC_PORT: "0",
        NODE_ENV: "development",
        LOGLEVEL: "warn",
        BCRYPT_COST: "4", // drills wait for orders, not for password hashes
        ADMIN_EMAIL: ADMIN.email,
        ADMIN_PASSWORD: ADMIN.password,
        ...(await via?.(links)),
      },
      scale: replicas,
      say: (line) => site.say(line),
      print: log,
    });
    // An interruption in the middle of the start is followed by a whole stop.
    site.onClose(async () => (await starting.catch(() => undefined))?.stop());
    const cluster = await starting;
    const crowd = await Crowd.gather(site, cluster.url);
    shop = new ClusterShop(site, { cluster, nats, postgres: links.postgres, replicas, crowd });
    return shop;
  }

  /** Requests that are answered per second, at the best of a few numbers of clients at once. */
  peak(): Promise<number> {
    return this.#crowd.peak();
  }

  /** Requests at a constant rate until `end`. */
  begin(perSecond: number, options?: BeginOptions): void {
    this.#crowd.begin(perSecond, options);
  }

  /** Resolves when the last request has its final answer. */
  async end(): Promise<Sent> {
    const sent = await this.#crowd.end();
    // One at a time: there may be more than a call takes arguments.
    for (const id of sent.orderIds) this.#orderIds.push(id);
    return sent;
  }

  /** One that is ready, `share` (0 to below 1) of the way through them; throws where there is none. */
  workerOf(service: ServiceName, share = 0): WorkerView {
    const ready = this.cluster.workers(service).filter(({ state }) => state === "ready");
    const worker = ready[Math.floor(share * ready.length)];
    if (!worker) throw new Error(`no worker of ${service} is ready`);
    return worker;
  }

  /** Resolves when all replicas of every part are ready. */
  async untilWhole(msMax: number): Promise<void> {
    const missing = () =>
      PARTS.filter(
        (name) =>
          this.cluster.workers(name).filter(({ state }) => state === "ready").length <
          (this.#replicas[name] ?? 0),
      );
    for (const givesUpAt = performance.now() + msMax; missing().length > 0; ) {
      if (performance.now() > givesUpAt)
        throw new Error(`${missing().join(", ")}: too few ready workers after ${msMax / 1_000} s`);
      await this.#site.pause(50);
    }
  }

  /** Every order that was answered 201 must be there, each key must have one order. */
  async audit(options: AuditOptions = {}): Promise<AuditReport & { doubled: number }> {
    const urls = Object.fromEntries(DATABASES.map((name) => [name, this.#urlOf(name)]));
    const report = await audit(urls, { acknowledged: this.#orderIds, ...options });
    return { ...report, doubled: await this.#countDoubled() };
  }

  async query<Row>(name: DatabaseName, text: string, values: unknown[] = []): Promise<Row[]> {
    const client = new pg.Client({ connectionString: this.#urlOf(name) });
    await client.connect();
    try {
      return (await client.query(text, values)).rows as Row[];
    } finally {
      await client.end();
    }
  }

  get acknowledged(): number {
    return this.#orderIds.length;
  }

  async #countDoubled(): Promise<number> {
    const [row] = await this.query<{ doubled: number }>(
      "order",
      `select count(*)::int as doubled from (
         select 1 from orders where state = 'committed' group by user_id, idempotency_key having count(*) > 1
       ) keys`,
    );
    return row?.doubled ?? 0;
  }

  #urlOf(name: DatabaseName): string {
    return Object.assign(new URL(this.#postgres.href), { pathname: `/${databaseName(name)}` }).href;
  }
}
