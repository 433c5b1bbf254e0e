/**
 * One node of each service in turn gets a twentieth of a processor, as a throttled container or one with a busy neighbour
 * does: it answers everybody who asks whether it is there, and its work takes forever.
 */
import { ClusterShop, PARTS } from "./cluster.shop.ts";
import type { Drill } from "./drill.ts";
import { auditLine } from "./shop.ts";
import type { Site } from "./site.ts";
import { failed, monotonicMs, outcomes, sentBetween } from "./traffic.ts";

const LOAD_SHARE = 0.3;
const SUCCEEDED_SHARE_MIN = 0.999;
const SECONDS = 10;
const AFTER_MS = 5_000;
/** Gateways share one port, and whose connection is whose is the system's affair. */
const SLOWED = PARTS.filter((name) => name !== "api");
/** Shorter than the half second between two probes, so that each of them is answered. */
const PERIOD_MS = 200;
const CPU_SHARE = 0.05;

export const slowNode: Drill = {
  name: "slow-node",
  about: `a node of each service gets ${CPU_SHARE * 100} % of a processor for ${SECONDS} s, at 30 % of the peak: ${SUCCEEDED_SHARE_MIN * 100} % succeed`,
  takes: ["seconds"],
  async run(site, { seconds = SECONDS }) {
    const shop = await ClusterShop.open(site);
    const peakPerSecond = await shop.peak();
    const turns: { service: string; from: number }[] = [];
    shop.begin(peakPerSecond * LOAD_SHARE);
    await site.pause(AFTER_MS);
    for (const service of SLOWED) {
      const { pid, nodeID } = shop.workerOf(service);
      site.log("cluster", `slow ${nodeID}`);
      turns.push({ service, from: monotonicMs() });
      await slow(site, pid, seconds * 1_000);
      await site.pause(AFTER_MS);
    }
    const sent = await shop.end();
    const report = await shop.audit();
    site.say(auditLine(report));

    const failures = failed(sent.requests);
    const failedBy = turns.map(({ service, from }, i) => {
      const theirs = sentBetween(failures, from, turns[i + 1]?.from ?? Number.POSITIVE_INFINITY);
      site.say(`${service}: ${theirs.length} failed ${JSON.stringify(outcomes(theirs))}`);
      return [service, theirs.length] as const;
    });
    const succeededShare = 1 - failures.length / sent.requests.length;
    const auditOk = report.ok && report.inDoubt === 0 && report.doubled === 0;
    return {
      peakPerSecond,
      perSecond: Math.round(peakPerSecond * LOAD_SHARE),
      secondsEach: seconds,
      requests: sent.requests.length,
      failed: failures.length,
      succeededPercent: Math.floor(succeededShare * 100_000) / 1_000,
      failedBy: Object.fromEntries(failedBy),
      failures: outcomes(failures),
      acknowledged: shop.acknowledged,
      inDoubt: report.inDoubt,
      generatorCpu: sent.generatorCpu,
      crashes: shop.cluster.crashes,
      auditOk,
      ok: succeededShare >= SUCCEEDED_SHARE_MIN && shop.cluster.crashes === 0 && auditOk,
    };
  },
};

async function slow(site: Site, pid: number, ms: number): Promise<void> {
  for (const until = monotonicMs() + ms; monotonicMs() < until; ) {
    process.kill(pid, "SIGSTOP");
    try {
      await site.pause(PERIOD_MS * (1 - CPU_SHARE));
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await site.pause(PERIOD_MS * CPU_SHARE);
  }
}
