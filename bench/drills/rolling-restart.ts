/** Every worker of the cluster is replaced, one after the other, while customers buy: none of them may notice. */
import { percentile } from "../../scripts/replay/report.ts";
import { ClusterShop } from "./cluster.shop.ts";
import type { Drill } from "./drill.ts";
import { auditLine } from "./shop.ts";
import { failed, outcomes } from "./traffic.ts";

const LOAD_SHARE = 0.3;
/** Undisturbed, before and after: what goes wrong late goes wrong in here. */
const QUIET_MS = 3_000;

export const rollingRestart: Drill = {
  name: "rolling-restart",
  about: "every worker of a cluster restarted in turn at 30 % of the peak: no failed request, no lost order",
  takes: ["times"],
  async run(site, { times = 1 }) {
    const shop = await ClusterShop.open(site);
    const peakPerSecond = await shop.peak();
    const restarted = new Set<string>();
    let killed = 0;
    const failedPerRound: number[] = [];
    const secondsPerRound: number[] = [];
    const latencies: number[] = [];
    const all: Record<string, number> = {};
    let [requests, repeated, generatorCpu, auditOk] = [0, 0, 0, true];
    for (let n = 1; n <= times; n++) {
      shop.begin(peakPerSecond * LOAD_SHARE);
      await site.pause(QUIET_MS);
      const startedAt = performance.now();
      for (const { nodeID } of shop.cluster.workers()) restarted.add(nodeID);
      const clean = await shop.cluster.restart(undefined, (line) => site.log("cluster", line));
      if (!clean) killed++;
      secondsPerRound.push(Math.round((performance.now() - startedAt) / 100) / 10);
      await site.pause(QUIET_MS);
      const sent = await shop.end();
      for (const [what, count] of Object.entries(outcomes(sent.requests)))
        all[what] = (all[what] ?? 0) + count;
      for (const { tookMs } of sent.requests) latencies.push(tookMs);
      failedPerRound.push(failed(sent.requests).length);
      requests += sent.requests.length;
      repeated += sent.requests.filter(({ attempts }) => attempts > 1).length;
      generatorCpu = Math.max(generatorCpu, sent.generatorCpu);
      const report = await shop.audit();
      auditOk &&= report.ok && report.inDoubt === 0 && report.doubled === 0;
      site.say(
        `round ${n}: ${sent.requests.length} requests, ${failedPerRound.at(-1)} failed ${JSON.stringify(outcomes(sent.requests))}; ${auditLine(report)}`,
      );
    }
    latencies.sort((a, b) => a - b);
    return {
      rounds: times,
      workersRestarted: restarted.size,
      peakPerSecond,
      perSecond: Math.round(peakPerSecond * LOAD_SHARE),
      requests,
      repeated,
      failed: failedPerRound,
      failures: all,
      p50Ms: Math.round(percentile(latencies, 0.5)),
      p99Ms: Math.round(percentile(latencies, 0.99)),
      secondsPerRound,
      acknowledged: shop.acknowledged,
      generatorCpu,
      // A worker that does not end when it is drained, or that ends by itself, is a defect that clients may not notice.
      roundsWithKilled: killed,
      crashes: shop.cluster.crashes,
      auditOk,
      ok:
        auditOk && failedPerRound.every((count) => count === 0) && killed === 0 && shop.cluster.crashes === 0,
    };
  },
};
