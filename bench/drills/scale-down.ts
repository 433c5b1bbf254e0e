/**
 * Two replicas of each workload of k8s/base over NATS, under load; every five seconds each workload loses one, all at the
 * same moment, for one that was started when the last one went and is ready. The kubelets' probes and times are those of
 * k8s/base, the pace is faster than any rolling update (which waits minReadySeconds). Nobody may notice: each request
 * gets its final answer within five seconds, and no acknowledged order is lost. Where the machine cannot start seven
 * processes in that time, the turns come as soon as it can; the figures say how far apart they were.
 */
import { databaseName } from "../../config/database.ts";
import { DATABASES } from "../../config/index.ts";
import { audit } from "../../scripts/audit/audit.ts";
import { ensurePostgres } from "../../scripts/postgres.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Drill } from "./drill.ts";
import { EndpointLoad } from "./endpoint.load.ts";
import { Pod, PRE_STOP_MS, type Stop } from "./pod.ts";
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
      await Promise.all(sets.map((set) => set.open()));
      site.say(`${sets.length * REPLICAS} nodes are ready`);
      await load.open();
      loading = load.run();

      /** When the last of a turn was signalled. */
      const signalledAt: number[] = [];
      await Promise.all(sets.map((set) => set.surge()));
      const firstAt = performance.now() + EVERY_MS;
      const turns = Math.max(2, Math.ceil((seconds * 1_000) / EVERY_MS));
      for (let turn = 0; turn < turns; turn++) {
        const plannedAt = firstAt + turn * EVERY_MS;
        await site.pause(Math.max(0, plannedAt - performance.now()));
        // Nobody goes before its successor is there.
        await Promise.all(sets.map((set) => set.whole()));
        const stops = sets.map((set) => set.replace());
        const last = Promise.all(stops).then((all) => {
          const at = Math.max(...all.map((stop) => stop.signalledAt));
          signalledAt[turn] = at;
          const lateMs = Math.round(at - plannedAt - PRE_STOP_MS);
          site.say(`turn ${turn + 1}: ${all.length} replicas stopped, ${lateMs} ms late; ${load.line}`);
        });
        if (turn === turns - 1) await last;
        else last.catch(() => undefined); // ended() throws it
      }
      const stops = (await Promise.all(sets.map((set) => set.ended()))).flat();
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
        turns,
        secondsBetweenTurns: {
          planned: EVERY_MS / 1_000,
          ...secondsBetween(signalledAt),
        },
        endedPerTurn: stops.length / turns,
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

const secondsBetween = (times: readonly number[]): { mean: number; most: number } => {
  const gaps = times.slice(1).map((at, i) => (at - (times[i] as number)) / 1_000);
  const rounded = (seconds: number) => Number(seconds.toFixed(1));
  return {
    mean: rounded(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length),
    most: rounded(Math.max(...gaps)),
  };
};

/** The pods of one workload, the oldest first. While it is scaled, one more than its replicas. */
class ReplicaSet {
  readonly pods: Pod[] = [];
  slowestReadyMs = 0;
  readonly #site: Site;
  readonly #name: string;
  readonly #services: string;
  readonly #env: Record<string, string>;
  readonly #ended: Pod[] = [];
  readonly #stops: Promise<Stop>[] = [];
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
    await Promise.all(Array.from({ length: REPLICAS }, () => this.surge()));
    await this.whole();
  }

  async surge(): Promise<void> {
    const name = `${this.#name}-${++this.#made}`;
    this.pods.push(await Pod.start(this.#site, name, this.#services, this.#env));
  }

  /** Resolves when all of its pods have been ready. */
  async whole(): Promise<void> {
    const readyMs = await Promise.all(this.pods.map((pod) => pod.readyMs));
    this.slowestReadyMs = Math.max(this.slowestReadyMs, ...readyMs);
  }

  /** Ends the oldest pod and starts its successor's successor. */
  replace(): Promise<Stop> {
    const pod = this.pods.shift() as Pod;
    this.#ended.push(pod);
    const stop = pod.terminate();
    this.#stops.push(stop);
    return Promise.all([stop, this.surge()]).then(([stopped]) => stopped);
  }

  /** Throws where a stop was not clean. */
  ended(): Promise<Stop[]> {
    return Promise.all(this.#stops);
  }

  async close(): Promise<void> {
    await Promise.all(
      this.pods.map((pod) => pod.terminate().catch((err: Error) => this.#site.say(err.message))),
    );
  }
}
