/**
 * A cluster of the drill's own: two replicas of every service over a NATS server and a PostgreSQL that are its own too,
 * and customers from a program of their own (generator.ts). All of it ends with the site.
 */
import type { ChildProcess } from "node:child_process";
import pg from "pg";
import { databaseName } from "../../config/database.ts";
import { DATABASES, type DatabaseName, SERVICES, type ServiceName } from "../../config/index.ts";
import { type AuditOptions, audit } from "../../scripts/audit/audit.ts";
import type { AuditReport } from "../../scripts/audit/report.ts";
import { type Cluster, startCluster, type WorkerView } from "../../scripts/cluster/cluster.ts";
import { ensurePostgres } from "../../scripts/postgres.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { ADMIN } from "./shop.ts";
import { cleanEnvironment, hasEnded, type Site } from "./site.ts";
import type { Answer, Command, Request } from "./traffic.ts";

const REPLICAS = 2;
/** Order nodes host a transaction manager each. */
export const PARTS = SERVICES.filter((name) => name !== "transaction-manager");
/** Closed loops, to find the peak with: the best of them counts. Batches make more clients cheaper, up to a point. */
const RAMP = [32, 64, 128, 192];
const RAMP_SECONDS = 4;

/** Where the cluster finds its servers; a drill may put something between. */
export interface Links {
  postgres: URL;
  nats: URL;
}

export interface OpenOptions {
  /** What is put between: the variables that lead there. */
  via?: (links: Links) => Promise<Record<string, string>>;
}

export interface Sent {
  requests: Request[];
  /** Of orders that were answered 201. */
  orderIds: string[];
  /** Of one core. */
  generatorCpu: number;
  perSecond: number;
}

export class ClusterShop {
  readonly cluster: Cluster;
  nats: Server;
  readonly #site: Site;
  readonly #postgres: URL;
  #generator: ChildProcess | undefined;
  readonly #orderIds: string[] = [];

  private constructor(site: Site, cluster: Cluster, nats: Server, postgres: URL) {
    this.#site = site;
    this.cluster = cluster;
    this.nats = nats;
    this.#postgres = postgres;
  }

  static async open(site: Site, { via }: OpenOptions = {}): Promise<ClusterShop> {
    const dataDir = site.dataDir("data");
    const log = (line: string) => site.log("cluster", line);
    site.say(`starting ${REPLICAS} workers of each of ${PARTS.join(", ")}, data in ${dataDir}`);
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
        NODE_ENV: "development",
        LOGLEVEL: "warn",
        BCRYPT_COST: "4", // drills wait for orders, not for password hashes
        ADMIN_EMAIL: ADMIN.email,
        ADMIN_PASSWORD: ADMIN.password,
        ...(await via?.(links)),
      },
      scale: Object.fromEntries(PARTS.map((name) => [name, REPLICAS])),
      say: (line) => site.say(line),
      print: log,
    });
    // An interruption in the middle of the start is followed by a whole stop.
    site.onClose(async () => (await starting.catch(() => undefined))?.stop());
    const cluster = await starting;
    shop = new ClusterShop(site, cluster, nats, links.postgres);
    await shop.#startGenerator();
    return shop;
  }

  /** Requests that are answered per second, at the best of a few numbers of clients at once. */
  async peak(): Promise<number> {
    const best = { clients: 0, perSecond: 0 };
    for (const clients of [RAMP[0] as number, ...RAMP]) {
      // The first one warms up.
      const measured = await this.#ask({ kind: "closed", clients, seconds: RAMP_SECONDS }, "measured");
      if (measured.perSecond > best.perSecond)
        Object.assign(best, { clients, perSecond: measured.perSecond });
    }
    this.#site.say(`peak: ${best.perSecond} requests per second of ${best.clients} clients`);
    return best.perSecond;
  }

  /** Requests at a constant rate until `end`. */
  begin(perSecond: number, { repeats = true, stubPerSecond = 0 } = {}): void {
    this.#tell({ kind: "open", perSecond, repeats, stubPerSecond });
  }

  /** Resolves when the last request has its final answer. */
  async end(): Promise<Sent> {
    const { requests, orderIds, cpuShare, seconds } = await this.#ask({ kind: "end" }, "sent");
    // One at a time: there may be more than a call takes arguments.
    for (const id of orderIds) this.#orderIds.push(id);
    const perSecond = Math.round((requests.length / seconds) * 10) / 10;
    return { requests, orderIds, generatorCpu: cpuShare, perSecond };
  }

  /** One that is ready; throws where there is none. */
  workerOf(service: ServiceName): WorkerView {
    const worker = this.cluster.workers(service).find(({ state }) => state === "ready");
    if (!worker) throw new Error(`no worker of ${service} is ready`);
    return worker;
  }

  /** Resolves when all replicas of every part are ready. */
  async untilWhole(msMax: number): Promise<void> {
    const missing = () =>
      PARTS.filter(
        (name) => this.cluster.workers(name).filter(({ state }) => state === "ready").length < REPLICAS,
      );
    for (const givesUpAt = performance.now() + msMax; missing().length > 0; ) {
      if (performance.now() > givesUpAt)
        throw new Error(`${missing().join(", ")}: not ${REPLICAS} ready workers after ${msMax / 1_000} s`);
      await this.#site.pause(50);
    }
  }

  /** Every order that was answered 201 must be there, each key must have one order. */
  async audit(options: AuditOptions = {}): Promise<AuditReport & { doubled: number }> {
    const urls = Object.fromEntries(DATABASES.map((name) => [name, this.#urlOf(name)]));
    const report = await audit(urls, { acknowledged: this.#orderIds, ...options });
    return { ...report, doubled: await this.#countDoubled() };
  }

  get acknowledged(): number {
    return this.#orderIds.length;
  }

  async #countDoubled(): Promise<number> {
    const client = new pg.Client({ connectionString: this.#urlOf("order") });
    await client.connect();
    try {
      const { rows } = await client.query(
        `select count(*)::int as doubled from (
           select 1 from orders where state = 'committed' group by user_id, idempotency_key having count(*) > 1
         ) keys`,
      );
      return (rows[0] as { doubled: number }).doubled;
    } finally {
      await client.end();
    }
  }

  #urlOf(name: DatabaseName): string {
    return Object.assign(new URL(this.#postgres.href), { pathname: `/${databaseName(name)}` }).href;
  }

  async #startGenerator(): Promise<void> {
    const { url } = this.cluster;
    this.#generator = this.#site.run(process.execPath, ["bench/drills/generator.ts", url], "generator", {
      ipc: true,
    });
    await this.#answer("ready");
    this.#site.say("all are ready, and so are the customers");
  }

  #tell(command: Command): void {
    this.#generator?.send(command);
  }

  #ask<K extends Answer["kind"]>(command: Command, kind: K): Promise<Extract<Answer, { kind: K }>> {
    const answer = this.#answer(kind);
    this.#tell(command);
    return answer;
  }

  #answer<K extends Answer["kind"]>(kind: K): Promise<Extract<Answer, { kind: K }>> {
    const generator = this.#generator as ChildProcess;
    return new Promise((resolve, reject) => {
      const settle = (done: () => void) => {
        generator.off("message", hear);
        generator.off("exit", fail);
        done();
      };
      const hear = (answer: Answer) => {
        if (answer.kind === kind) settle(() => resolve(answer as Extract<Answer, { kind: K }>));
        else if (answer.kind === "failed")
          settle(() => reject(new Error(`the generator: ${answer.message}`)));
      };
      const fail = () =>
        settle(() => reject(new Error(`the generator has ended: ${this.#site.tailOf("generator")}`)));
      generator.on("message", hear);
      generator.on("exit", fail);
      if (hasEnded(generator)) fail();
    });
  }
}
