/**
 * A node as Kubernetes would run it: a process of scripts/start.ts with one group of services, probed over HTTP by the
 * probes of k8s/base as a kubelet does, sent requests only while it is ready, and ended as a pod is: out of the
 * endpoints, preStop, SIGTERM, grace. What the cluster would do to it and nothing more, so what a drill shows of it
 * holds there.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { parse } from "yaml";
import { COMPILE_CACHE } from "../../scripts/compile-cache.ts";
import { freePort } from "../../scripts/ports.ts";
import { endOf, hasEnded, ROOT, type Site } from "./site.ts";

interface Probe {
  httpGet: { path: string };
  periodSeconds: number;
  timeoutSeconds: number;
  failureThreshold: number;
}

interface PodSpec {
  terminationGracePeriodSeconds: number;
  containers: [
    Record<"startupProbe" | "readinessProbe" | "livenessProbe", Probe> & {
      lifecycle: { preStop: { sleep: { seconds: number } } };
    },
  ];
}

const manifest = parse(readFileSync(path.join(ROOT, "k8s/base/node.patch.yaml"), "utf8"));
const spec: PodSpec = manifest.spec.template.spec;
const [{ startupProbe, readinessProbe, livenessProbe, lifecycle }] = spec.containers;

const PRE_STOP_MS = lifecycle.preStop.sleep.seconds * 1_000;
// The grace begins with the preStop.
const GRACE_MS = spec.terminationGracePeriodSeconds * 1_000 - PRE_STOP_MS;

export interface Stop {
  /** When it was sent SIGTERM, by performance.now(). */
  signalledAt: number;
  tookMs: number;
}

export class Pod {
  readonly name: string;
  readonly url: string;
  /** Among the endpoints: requests are sent here. */
  isReady = false;
  isTerminating = false;
  /** Times that a kubelet would have restarted it. */
  restarts = 0;
  /** From its start until it was found ready. */
  readonly readyMs: Promise<number>;
  readonly #site: Site;
  readonly #probeUrl: string;
  readonly #process: ChildProcess;
  readonly #becomesReady = Promise.withResolvers<void>();

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
    const startedAt = performance.now();
    this.#process = site.run(process.execPath, ["scripts/start.ts"], name, {
      env: {
        ...COMPILE_CACHE,
        ...env,
        NODEID: name,
        PORT: String(ports[0]),
        METRICS_PORT: String(ports[1]),
        GRPC_PORT: "0",
      },
    });
    this.readyMs = this.#becomesReady.promise.then(() => Math.round(performance.now() - startedAt));
    // Whoever waits for it hears why; a drill that is over waits for nobody.
    this.readyMs.catch(() => undefined);
    this.#watch().catch((err) => this.#becomesReady.reject(err));
  }

  /** Has Node keep what it compiles, as the image's build does: a node in Kubernetes never starts without. */
  static async build(site: Site): Promise<void> {
    const how = await endOf(
      site.run(process.execPath, ["scripts/compile.ts"], "build", { env: COMPILE_CACHE }),
    );
    if (how !== 0) throw new Error(`scripts/compile.ts ended with ${how}: ${site.tailOf("build")}`);
  }

  static async start(site: Site, name: string, services: string, env: Record<string, string>): Promise<Pod> {
    return new Pod(site, name, [await freePort(), await freePort()], { ...env, SERVICES: services });
  }

  /** Throws where the stop was not clean. */
  async terminate(): Promise<Stop> {
    this.isTerminating = true;
    await this.#site.pause(PRE_STOP_MS);
    const signalledAt = performance.now();
    this.#process.kill("SIGTERM");
    const killer = setTimeout(() => this.#process.kill("SIGKILL"), GRACE_MS);
    const how = await endOf(this.#process);
    clearTimeout(killer);
    if (how !== 0) throw new Error(`${this.name} ended with ${how}: ${this.#site.tailOf(this.name)}`);
    return { signalledAt, tookMs: Math.round(performance.now() - signalledAt) };
  }

  async #watch(): Promise<void> {
    await this.#ask(startupProbe, (failures) => {
      if (failures === startupProbe.failureThreshold) throw this.#neverReady("does not start");
      return failures > 0;
    });
    await Promise.all([
      this.#ask(readinessProbe, (failures) => {
        if (failures === 0) this.isReady = true;
        else if (failures >= readinessProbe.failureThreshold) this.isReady = false;
        if (this.isReady) this.#becomesReady.resolve();
        return true;
      }),
      this.#ask(livenessProbe, (failures) => {
        if (failures === livenessProbe.failureThreshold && !this.isTerminating) this.restarts++;
        return true;
      }),
    ]);
    this.isReady = false;
    throw this.#neverReady("ended before it was ready");
  }

  /** Asks every period while the process lives and `told`, which hears of the failures in a row, answers true. */
  async #ask(probe: Probe, told: (failures: number) => boolean): Promise<void> {
    for (let failures = 0; !hasEnded(this.#process); await this.#site.pause(probe.periodSeconds * 1_000)) {
      failures = (await this.#isWell(probe)) ? 0 : failures + 1;
      if (!told(failures)) return;
    }
  }

  async #isWell({ httpGet, timeoutSeconds }: Probe): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(timeoutSeconds * 1_000);
      const answer = await fetch(this.#probeUrl + httpGet.path, { signal });
      await answer.arrayBuffer();
      return answer.ok;
    } catch {
      return false;
    }
  }

  #neverReady(how: string): Error {
    return new Error(`${this.name} ${how}: ${this.#site.tailOf(this.name)}`);
  }
}
