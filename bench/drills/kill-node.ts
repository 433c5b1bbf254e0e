/**
 * One of two replicas of each service is killed (kill -9, and the cluster replaces it), then paused (SIGSTOP, and woken
 * later), while customers buy. A killed node's port is closed at once; a paused one looks alive to everything that does
 * not wait for its answer, and wakes up in the middle of what it was doing.
 */
import { percentile } from "../../scripts/replay/report.ts";
import { ClusterShop, PARTS } from "./cluster.shop.ts";
import type { Drill } from "./drill.ts";
import { auditLine } from "./shop.ts";
import { failed, monotonicMs, outcomes, type Request, sentBetween } from "./traffic.ts";

const LOAD_SHARE = 0.3;
const SUCCEEDED_SHARE_MIN = 0.995;
/** From when on every request must succeed. */
const KILL_MS_MAX = 2_000;
const STOP_MS_MAX = 6_000;
/** Between a kill and the next blow; a replacement must be ready too. */
const AFTER_KILL_MS = 4_000;
const REPLACED_MS_MAX = 60_000;
const PAUSED_MS = 10_000;
const AFTER_PAUSE_MS = 3_000;
const NOT_IN_DOUBT_MS = 10_000;

interface Blow {
  kind: "kill" | "stop";
  service: string;
  at: number;
}

export const killNode: Drill = {
  name: "kill-node",
  about: `kill -9, then SIGSTOP, of a node of each service at 30 % of the peak: ${SUCCEEDED_SHARE_MIN * 100} % succeed, all from ${KILL_MS_MAX / 1_000} s and ${STOP_MS_MAX / 1_000} s on`,
  takes: ["times"],
  async run(site, { times = 1 }) {
    const shop = await ClusterShop.open(site);
    const peakPerSecond = await shop.peak();
    const blows: Blow[] = [];
    const strike = (kind: Blow["kind"], service: (typeof PARTS)[number]) => {
      const { pid, nodeID } = shop.workerOf(service);
      site.log("cluster", `${kind} ${nodeID}`);
      blows.push({ kind, service, at: monotonicMs() });
      process.kill(pid, kind === "kill" ? "SIGKILL" : "SIGSTOP");
      return pid;
    };
    shop.begin(peakPerSecond * LOAD_SHARE);
    for (let n = 1; n <= times; n++)
      for (const service of PARTS) {
        strike("kill", service);
        await site.pause(AFTER_KILL_MS);
        await shop.untilWhole(REPLACED_MS_MAX);
        const pid = strike("stop", service);
        try {
          await site.pause(PAUSED_MS);
        } finally {
          process.kill(pid, "SIGCONT");
        }
        await site.pause(AFTER_PAUSE_MS);
      }
    const endedAt = monotonicMs();
    const sent = await shop.end();
    await site.pause(Math.max(0, NOT_IN_DOUBT_MS - (monotonicMs() - endedAt)));
    const report = await shop.audit();
    site.say(auditLine(report));

    const failures = failed(sent.requests);
    const underWayMs = usualMs(sent.requests);
    // A request that the next blow finds under way fails by that one.
    const hitsFrom = (blow: Blow | undefined) => (blow ? blow.at - underWayMs : Number.POSITIVE_INFINITY);
    const late = blows.map((blow, i) => {
      const until = hitsFrom(blows[i + 1]);
      const after = sentBetween(failures, hitsFrom(blow), until);
      const from = blow.at + (blow.kind === "kill" ? KILL_MS_MAX : STOP_MS_MAX);
      site.say(
        `${blow.kind} of ${blow.service}: ${after.length} failed ${JSON.stringify(outcomes(after))}, the last one sent ${lastOf(after, blow.at)} ms later`,
      );
      return {
        ...blow,
        failed: after.length,
        late: sentBetween(after, from, until).length,
        last: lastOf(after, blow.at),
      };
    });
    const of = (kind: Blow["kind"], figure: "failed" | "late" | "last") =>
      Object.fromEntries(
        late.filter((blow) => blow.kind === kind).map((blow) => [blow.service, blow[figure]]),
      );
    const succeededShare = 1 - failures.length / sent.requests.length;
    const lateCount = late.reduce((sum, blow) => sum + blow.late, 0);
    // Of those that nobody killed.
    const crashes = shop.cluster.crashes - blows.filter(({ kind }) => kind === "kill").length;
    const auditOk = report.ok && report.inDoubt === 0 && report.doubled === 0;
    return {
      peakPerSecond,
      perSecond: Math.round(peakPerSecond * LOAD_SHARE),
      underWayMs: Math.round(underWayMs),
      requests: sent.requests.length,
      failed: failures.length,
      succeededPercent: Math.floor(succeededShare * 100_000) / 1_000,
      failures: outcomes(sent.requests),
      lateAfterKill: of("kill", "late"),
      lateAfterStop: of("stop", "late"),
      lastFailedMsAfterKill: of("kill", "last"),
      lastFailedMsAfterStop: of("stop", "last"),
      acknowledged: shop.acknowledged,
      inDoubt: report.inDoubt,
      doubled: report.doubled,
      generatorCpu: sent.generatorCpu,
      crashes,
      auditOk,
      ok: succeededShare >= SUCCEEDED_SHARE_MIN && lateCount === 0 && crashes === 0 && auditOk,
    };
  },
};

/** How long it takes at p90, which no blow reaches, what succeeds at once. */
const usualMs = (requests: readonly Request[]): number =>
  percentile(
    requests
      .filter(({ outcome, attempts }) => outcome === "ok" && attempts === 1)
      .map(({ tookMs }) => tookMs)
      .sort((a, b) => a - b),
    0.9,
  );

/** How long after the blow the last of them was sent; 0 where there is none. */
const lastOf = (requests: Request[], at: number): number =>
  Math.round(requests.reduce((last, { sentAt }) => Math.max(last, sentAt - at), 0));
