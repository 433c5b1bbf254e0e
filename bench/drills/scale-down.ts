/**
 * Two replicas of each workload of k8s/base over NATS, under load; every five seconds each workload loses one, for one
 * that was started when the last one went and is ready. The workloads take turns within the five seconds, so that their
 * starts do not wait for each other's processor. The kubelets' probes and times are those of k8s/base, the pace is faster
 * than any rolling update (which waits minReadySeconds). Nobody may notice: each request gets its final answer within
 * five seconds, and no acknowledged order is lost. Where the machine cannot start so many processes in that time, their
 * turns come as soon as it can; the figures say how far apart they were.
 */
import { databaseName } from "../../config/database.ts";
import { DATABASES } from "../../config/index.ts";
import { audit } from "../../scripts/audit/audit.ts";
import { ensurePostgres } from "../../scripts/postgres.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Drill } from "./drill.ts";
import { EndpointLoad } from "./endpoint.load.ts";
import { Pod, type Stop } from "./pod.ts";
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

const REPLICAS = 2;
const EVERY_MS = 5_000;
export const scaleDown: Drill = {
  name: "scale-down",
  about: `SIGTERM to a replica of each service every ${EVERY_MS / 1_000} s, probed as by kubelets: no failed request, no lost order`,
  takes: ["seconds"],
  async run(site, { seconds = 120 }) {
    const postgres = await ensurePostgres({ dataDir: site.dataDir("data") });
    const nats = await startNats();
    const env = {
      DATABASE_URL: postgres.url,
      DATABASE_POOL_MAX: "4", // four generations of seven nodes, and the 200 connections of the server
      TRANSPORTER: nats.url,
      NAMESPACE: "scale-down",
      LOGLEVEL: "warn",
      BCRYPT_COST: "4",
      NODE_ENV: "production",
      ADMIN_EMAIL: ADMIN.email,
      ADMIN_PASSWORD: ADMIN.password,
    };
    const sets = Object.entries(WORKLOADS).map(
      ([name, services]) => new ReplicaSet(site, name, services, env),
    );
    const [gateways] = sets as [ReplicaSet, ...ReplicaSet[]];
    const load = new EndpointLoad(() => gateways.pods.filter((pod) => pod.isReady && !pod.isTerminating));
    let loading: Promise<void> = Promise.resolve();
    try {
      await Pod.build(site);
      await Promise.all(sets.map((set) => set.open()));
      site.say(`${sets.length * REPLICAS} nodes are ready`);
      await load.open();
      const told = setInterval(() => site.say(load.line), EVERY_MS);
      loading = load.run().finally(() => clearInterval(told));

      const turns = Math.max(2, Math.ceil((seconds * 1_000) / EVERY_MS));
      const firstAt = performance.now() + EVERY_MS;
      const scaled = sets.map((set, i) => set.scale(turns, firstAt + (i * EVERY_MS) / sets.length));
      const stops = (await Promise.all(scaled)).flat();
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
      const restarts = sets.reduce((sum, set) => sum + set.restarts, 0);
      return {
        workloads: sets.length,
        turns,
        secondsBetweenTurns: { planned: EVERY_MS / 1_000, ...secondsBetween(sets) },
        ended: stops.length,
        slowestReadyMs: Math.max(...sets.map((set) => set.slowestReadyMs)),
        slowestStopMs: Math.max(...stops.map(({ tookMs }) => tookMs)),
        requests: load.requests,
        orders: load.acknowledged.length,
        repeated: load.repeated,
        slowestAnswerMs: load.slowestMs,
        failed: load.failures,
        restarts,
        inDoubt: report.inDoubt,
        auditOk: report.ok,
        ok:
          load.failures.length === 0 &&
          load.acknowledged.length > 0 &&
          restarts === 0 &&
          report.ok &&
          report.inDoubt === 0,
      };
    } finally {
      load.stop();
      await loading;
      // Before the servers that they would otherwise miss and complain of.
      await Promise.all(sets.map((set) => set.close()));
      await nats.stop();
      await postgres.stop();
    }
  },
};

/** Between two signals to the same workload. */
function secondsBetween(sets: readonly ReplicaSet[]): { mean: number; most: number } {
  const gaps = sets.flatMap(({ signalledAt }) =>
    signalledAt.slice(1).map((at, i) => at - (signalledAt[i] as number)),
  );
  const rounded = (ms: number) => Number((ms / 1_000).toFixed(1));
  return {
    mean: rounded(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length),
    most: rounded(Math.max(...gaps)),
  };
}

/** The pods of one workload, the oldest first. While it is scaled, one more than its replicas. */
class ReplicaSet {
  readonly pods: Pod[] = [];
  readonly signalledAt: number[] = [];
  slowestReadyMs = 0;
  readonly #site: Site;
  readonly #name: string;
  readonly #services: string;
  readonly #env: Record<string, string>;
  readonly #ended: Pod[] = [];
  #made = 0;

  constructor(site: Site, name: string, services: string, env: Record<string, string>) {
    this.#site = site;
    this.#name = name;
    this.#services = services;
    this.#env = env;
  }

  get restarts(): number {
    return [...this.#ended, ...this.pods].reduce((sum, pod) => sum + pod.restarts, 0);
  }

  async open(): Promise<void> {
    await Promise.all(Array.from({ length: REPLICAS }, () => this.#surge()));
    await this.#whole();
  }

  /** Ends the oldest pod at each turn, for one more that is ready. Rejects where a stop was not clean. */
  async scale(turns: number, firstAt: number): Promise<Stop[]> {
    const stops: Promise<Stop>[] = [];
    // The first start, too, when it is this workload's turn.
    await this.#site.pause(Math.max(0, firstAt - EVERY_MS - performance.now()));
    for (let turn = 0; turn < turns; turn++) {
      await this.#surge();
      await this.#site.pause(Math.max(0, firstAt + turn * EVERY_MS - performance.now()));
      await this.#whole();
      const pod = this.pods.shift() as Pod;
      this.#ended.push(pod);
      const stop = pod.terminate();
      stop.catch(() => undefined); // thrown below
      stops.push(stop);
    }
    const ended = await Promise.all(stops);
    this.signalledAt.push(...ended.map(({ signalledAt }) => signalledAt));
    return ended;
  }

  async #surge(): Promise<void> {
    const name = `${this.#name}-${++this.#made}`;
    this.pods.push(await Pod.start(this.#site, name, this.#services, this.#env));
  }

  /** Resolves when all of its pods have been ready. */
  async #whole(): Promise<void> {
    const readyMs = await Promise.all(this.pods.map((pod) => pod.readyMs));
    this.slowestReadyMs = Math.max(this.slowestReadyMs, ...readyMs);
  }

  async close(): Promise<void> {
    await Promise.all(
      this.pods.map((pod) => pod.terminate().catch((err: Error) => this.#site.say(err.message))),
    );
  }
}
