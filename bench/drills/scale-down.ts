/**
 * Two replicas of each service over NATS, under load; every five seconds one of them is scaled away and comes back,
 * service by service, with kubelets probing. Nobody may notice: each request gets its final answer within five seconds
 * (its client repeats what met a dying connection or a 503, with the same key), and no acknowledged order is lost.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { databaseName } from "../../config/database.ts";
import { DATABASES } from "../../config/index.ts";
import { audit } from "../../scripts/audit/audit.ts";
import { ensurePostgres } from "../../scripts/postgres.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import { type Customer, Customers, type OrderAnswer } from "./customers.ts";
import type { Drill } from "./drill.ts";
import { Pod } from "./pod.ts";
import { ADMIN, auditLine } from "./shop.ts";
import type { Site } from "./site.ts";

/** As the Deployments of k8s/base. */
const WORKLOADS = {
  gateway: "api",
  auth: "auth",
  user: "user",
  product: "product",
  order: "order,transaction-manager",
  payment: "payment",
  notification: "notification",
} as const;
type Workload = keyof typeof WORKLOADS;

const REPLICAS = 2;
const EVERY_MS = 5_000;
const ANSWER_MS_MAX = 5_000;
const CLIENTS = 8;
/** Between two orders of one client: a shop that is busy, and not one that is full. */
const PAUSE_MS = 100;

export const scaleDown: Drill = {
  name: "scale-down",
  about: `SIGTERM to a replica every ${EVERY_MS / 1_000} s, service by service, probed as by kubelets: no failed request, no lost order`,
  takes: ["seconds"],
  async run(site, { seconds = 120 }) {
    const postgres = await ensurePostgres({ dataDir: site.dataDir("data") });
    const nats = await startNats();
    const replicaSets = new Map<Workload, Pod[]>();
    const load = new Load(() =>
      (replicaSets.get("gateway") ?? []).filter((pod) => pod.isReady && !pod.isTerminating),
    );
    try {
      const env = {
        DATABASE_URL: postgres.url,
        DATABASE_POOL_MAX: "4", // sixteen nodes and the default of max_connections
        TRANSPORTER: nats.url,
        NAMESPACE: "scale-down",
        LOGLEVEL: "warn",
        BCRYPT_COST: "4",
        NODE_ENV: "production",
        ADMIN_EMAIL: ADMIN.email,
        ADMIN_PASSWORD: ADMIN.password,
      };
      let made = 0;
      const start = (name: Workload) => Pod.start(site, `${name}-${++made}`, WORKLOADS[name], env);
      for (const name of Object.keys(WORKLOADS) as Workload[])
        replicaSets.set(name, await Promise.all(Array.from({ length: REPLICAS }, () => start(name))));
      await Promise.all([...replicaSets.values()].flat().map((pod) => pod.ready()));
      site.say(`${made} nodes are ready`);
      await load.open();

      const stops: number[] = [];
      const ended: Pod[] = [];
      const loading = load.run();
      const endsAt = performance.now() + seconds * 1_000;
      for (let turn = 0; performance.now() < endsAt; turn++) {
        const next = performance.now() + EVERY_MS;
        const name = Object.keys(WORKLOADS)[turn % Object.keys(WORKLOADS).length] as Workload;
        const pods = replicaSets.get(name) as Pod[];
        // A budget would not let the last one go either.
        await Promise.all(pods.map((pod) => pod.ready()));
        const pod = pods.shift() as Pod;
        const stopMs = await pod.terminate();
        stops.push(stopMs);
        ended.push(pod);
        pods.push(await start(name));
        site.say(`${pod.name} stopped in ${stopMs} ms; ${load.line}`);
        await site.pause(Math.max(0, next - performance.now()));
      }
      load.stop();
      await loading;

      const urls = Object.fromEntries(
        DATABASES.map((name) => [
          name,
          Object.assign(new URL(postgres.url), { pathname: `/${databaseName(name)}` }).href,
        ]),
      );
      const report = await audit(urls as never, { acknowledged: load.acknowledged });
      site.say(auditLine(report));
      const pods = [...ended, ...[...replicaSets.values()].flat()];
      const livenessFailures = pods.reduce((sum, pod) => sum + pod.livenessFailures, 0);
      return {
        terminated: stops.length,
        slowestStopMs: Math.max(...stops),
        orders: load.acknowledged.length,
        repeated: load.repeated,
        failed: load.failures,
        livenessFailures,
        inDoubt: report.inDoubt,
        auditOk: report.ok,
        ok:
          load.failures.length === 0 &&
          load.acknowledged.length > 0 &&
          livenessFailures === 0 &&
          report.ok &&
          report.inDoubt === 0,
      };
    } finally {
      load.stop();
      await stopNodes(site, [...replicaSets.values()].flat());
      await nats.stop();
      await postgres.stop();
    }
  },
};

/** Before the servers that they would otherwise miss and complain of. */
const stopNodes = (site: Site, pods: readonly Pod[]): Promise<unknown> =>
  Promise.all(pods.map((pod) => pod.terminate().catch((err: Error) => site.say(err.message))));

/** Clients who order one thing after the other, each from any gateway that is an endpoint at that moment. */
class Load {
  readonly acknowledged: string[] = [];
  readonly failures: string[] = [];
  repeated = 0;
  readonly #endpoints: () => Pod[];
  readonly #clients = new Map<Pod, Customers>();
  #customers: Customer[] = [];
  #products: string[] = [];
  #orders = 0;
  #isOver = false;

  constructor(endpoints: () => Pod[]) {
    this.#endpoints = endpoints;
  }

  get line(): string {
    return `${this.acknowledged.length} orders, ${this.repeated} requests repeated, ${this.failures.length} failed`;
  }

  async open(): Promise<void> {
    const client = this.#client() as Customers;
    this.#customers = await client.signUp(CLIENTS);
    this.#products = await client.addProducts(CLIENTS, 1_000_000);
  }

  stop(): void {
    this.#isOver = true;
    for (const client of this.#clients.values()) client.close();
  }

  async run(): Promise<void> {
    await Promise.all(
      this.#customers.map(async (customer, i) => {
        while (!this.#isOver) {
          await this.#order(customer, this.#products[i] as string);
          await sleep(PAUSE_MS);
        }
      }),
    );
  }

  async #order(customer: Customer, productId: string): Promise<void> {
    const key = `scale-down-${++this.#orders}`;
    const givesUpAt = performance.now() + ANSWER_MS_MAX;
    for (let last = "no gateway was ready"; ; this.repeated++) {
      const client = this.#client();
      try {
        const answer = await client?.order({ customer, productId, key });
        if (answer?.status === 201) return void this.acknowledged.push((answer.body as OrderAnswer).id);
        if (answer) last = `${answer.status} ${answer.body.code ?? ""}`;
        // 409: the first attempt is still being decided. 202: ask again for the outcome.
        if (answer && ![202, 409, 503, 504].includes(answer.status))
          return void this.failures.push(`${key}: ${last}`);
      } catch (err) {
        last = (err as Error).message;
      }
      if (this.#isOver) return;
      if (performance.now() > givesUpAt) return void this.failures.push(`${key}: ${last}`);
      await sleep(PAUSE_MS);
    }
  }

  #client(): Customers | undefined {
    const ready = this.#endpoints();
    const pod = ready[this.#orders % ready.length];
    if (!pod) return undefined;
    const client = this.#clients.get(pod) ?? new Customers(pod.url, CLIENTS);
    this.#clients.set(pod, client);
    return client;
  }
}
