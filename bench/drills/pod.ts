/**
 * A node as Kubernetes would run it: a process of scripts/start.ts with one group of services, probed over HTTP as a
 * kubelet probes, sent requests only while it is ready, and ended as a pod is: out of the endpoints, preStop, SIGTERM,
 * grace. What the cluster would do to it and nothing more, so what a drill shows of it holds there.
 */
import type { ChildProcess } from "node:child_process";
import { freePort } from "../../scripts/ports.ts";
import { endOf, hasEnded, type Site } from "./site.ts";

// As in k8s/base/node.patch.yaml, the periods shorter so that a short drill sees enough of them.
const PERIOD_MS = 500;
const PROBE_MS_MAX = 2_000;
const READINESS_FAILURES_MAX = 3;
const LIVENESS_FAILURES_MAX = 6;
const PRE_STOP_MS = 2_000;
const GRACE_MS = 40_000;
const START_MS_MAX = 120_000;

export class Pod {
  readonly name: string;
  readonly url: string;
  /** Among the endpoints: requests are sent here. */
  isReady = false;
  isTerminating = false;
  /** Times that a kubelet would have restarted it. */
  livenessFailures = 0;
  readonly #site: Site;
  readonly #probeUrl: string;
  readonly #process: ChildProcess;
  #unready = 0;
  #dead = 0;

  private constructor(
    site: Site,
    name: string,
    ports: readonly [port: number, metricsPort: number],
    env: Record<string, string>,
  ) {
    this.#site = site;
    this.name = name;
    this.url = `http://127.0.0.1:${ports[0]}`;
    this.#probeUrl = `http://127.0.0.1:${ports[1]}`;
    this.#process = site.run(process.execPath, ["scripts/start.ts"], name, {
      env: { ...env, NODEID: name, PORT: String(ports[0]), METRICS_PORT: String(ports[1]) },
    });
    void this.#probe().catch(() => undefined); // the drill is over
  }

  static async start(site: Site, name: string, services: string, env: Record<string, string>): Promise<Pod> {
    return new Pod(site, name, [await freePort(), await freePort()], { ...env, SERVICES: services });
  }

  /** Resolves when it takes requests. */
  async ready(): Promise<void> {
    const givesUpAt = performance.now() + START_MS_MAX;
    while (!this.isReady) {
      if (hasEnded(this.#process) || performance.now() > givesUpAt)
        throw new Error(`${this.name} does not become ready: ${this.#site.tailOf(this.name)}`);
      await this.#site.pause(50);
    }
  }

  /** Resolves with how long the stop took from SIGTERM, in milliseconds. Throws where it was not clean. */
  async terminate(): Promise<number> {
    this.isTerminating = true;
    await this.#site.pause(PRE_STOP_MS);
    const startedAt = performance.now();
    this.#process.kill("SIGTERM");
    const killer = setTimeout(() => this.#process.kill("SIGKILL"), GRACE_MS);
    const how = await endOf(this.#process);
    clearTimeout(killer);
    if (how !== 0) throw new Error(`${this.name} ended with ${how}: ${this.#site.tailOf(this.name)}`);
    return Math.round(performance.now() - startedAt);
  }

  async #probe(): Promise<void> {
    while (!hasEnded(this.#process)) {
      const [ready, live] = await Promise.all([this.#ask("/health/ready"), this.#ask("/health/live")]);
      this.#unready = ready ? 0 : this.#unready + 1;
      if (ready) this.isReady = true;
      else if (this.#unready >= READINESS_FAILURES_MAX) this.isReady = false;
      // A process that is starting or ending has no port; a kubelet's startup probe and its own knowledge cover that.
      if (this.isReady && !this.isTerminating) {
        this.#dead = live ? 0 : this.#dead + 1;
        if (this.#dead === LIVENESS_FAILURES_MAX) this.livenessFailures++;
      }
      await this.#site.pause(PERIOD_MS);
    }
    this.isReady = false;
  }

  async #ask(path: string): Promise<boolean> {
    try {
      const answer = await fetch(this.#probeUrl + path, { signal: AbortSignal.timeout(PROBE_MS_MAX) });
      await answer.arrayBuffer();
      return answer.ok;
    } catch {
      return false;
    }
  }
}
