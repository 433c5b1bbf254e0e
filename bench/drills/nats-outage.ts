/** The NATS server is killed under load and comes back on its port: the cluster must find itself again, unaided. */
import { startNats } from "../../scripts/servers/nats.ts";
import { ClusterShop } from "./cluster.shop.ts";
import type { Drill } from "./drill.ts";
import { auditLine } from "./shop.ts";
import { ANSWER_MS_MAX, failed, monotonicMs, outcomes, sentBetween } from "./traffic.ts";

const LOAD_SHARE = 0.3;
const QUIET_MS = 8_000;
const HEALED_MS_MAX = 10_000;
/** Of healed traffic, after the limit. */
const AFTER_MS = 5_000;

export const natsOutage: Drill = {
  name: "nats-outage",
  about: `nats-server killed for 10 s under load: every request sent ${HEALED_MS_MAX / 1_000} s after its return succeeds, audit clean`,
  takes: ["seconds"],
  async run(site, { seconds = 10 }) {
    const shop = await ClusterShop.open(site);
    const peakPerSecond = await shop.peak();
    const nodes = shop.cluster.workers().map(({ nodeID }) => nodeID);
    shop.begin(peakPerSecond * LOAD_SHARE);
    await site.pause(QUIET_MS);
    const { port, pid } = shop.nats;
    const killedAt = monotonicMs();
    process.kill(pid as number, "SIGKILL");
    site.say(`killed nats-server (pid ${pid})`);
    await site.pause(seconds * 1_000);
    await shop.nats.stop();
    shop.nats = await startNats({ port });
    const backAt = monotonicMs();
    site.say("nats-server is back");
    await site.pause(HEALED_MS_MAX + AFTER_MS);
    const sent = await shop.end();
    const report = await shop.audit();
    site.say(auditLine(report));

    const failures = failed(sent.requests);
    const during = sentBetween(sent.requests, killedAt, backAt);
    const after = sentBetween(failures, backAt, Number.POSITIVE_INFINITY);
    const healedMs = Math.round(after.reduce((last, { sentAt }) => Math.max(last, sentAt - backAt), 0));
    // What could still be under way when the server died belongs to the outage.
    const before = failures.filter(
      ({ sentAt, tookMs }) => sentAt + tookMs < killedAt || sentAt < killedAt - ANSWER_MS_MAX,
    );
    const workersLost = nodes.filter((id) => !shop.cluster.workers().some(({ nodeID }) => nodeID === id));
    const auditOk = report.ok && report.inDoubt === 0 && report.doubled === 0;
    return {
      outageSeconds: seconds,
      peakPerSecond,
      perSecond: Math.round(peakPerSecond * LOAD_SHARE),
      requests: sent.requests.length,
      sentDuring: during.length,
      failedDuring: failed(during).length,
      failuresDuring: outcomes(during),
      failedAfter: after.length,
      failuresAfter: outcomes(after),
      healedMs,
      workersLost,
      acknowledged: shop.acknowledged,
      inDoubt: report.inDoubt,
      generatorCpu: sent.generatorCpu,
      auditOk,
      failedBefore: before.length,
      failuresBefore: outcomes(before),
      ok: auditOk && before.length === 0 && healedMs < HEALED_MS_MAX && workersLost.length === 0,
    };
  },
};
