/**
 * Twice what the shop can do, for a minute: what is too much is refused quickly, and what is let in is done. A generator
 * that sends twice as much takes more of the machine, which the shop shares with it; so the peak is measured with the
 * same number of requests, half of them to a stub that refuses everything at once.
 */
import { readFileSync } from "node:fs";
import { percentile } from "../../scripts/replay/report.ts";
import { ClusterShop } from "./cluster.shop.ts";
import type { Sent } from "./crowd.ts";
import type { Drill } from "./drill.ts";
import { auditLine } from "./shop.ts";
import { type Request, sentBetween } from "./traffic.ts";

const GOODPUT_SHARE_MIN = 0.8;
const REFUSED_P99_MS_MAX = 100;
/** Of all: what is neither done nor refused at once (504, lost, still pending) was let in and kept waiting. */
const OTHERS_SHARE_MAX = 0.01;
const OVERLOAD = 2;
const REFERENCE_SECONDS = 15;
/** Until queues are as full as they get; not counted. */
const RUN_IN_SECONDS = 5;
/**
 * Of a worker's memory in the last third of the overload, against that in the middle third: a heap fills up to where the
 * collector starts, then stays; what leaks, or queues without an end, goes on. Of all workers after it, against before.
 */
const MEMORY_FACTOR_MAX = 1.2;
const MEMORY_SAMPLE_MS = 1_000;
const REST_MS = 5_000;
/** Whoever answers more than this of all that is offered is not overloaded. */
const SATURATED_SHARE_MAX = 0.75;
const ATTEMPTS_MAX = 3;

export const overload: Drill = {
  name: "overload",
  about: `twice the saturating load for 60 s: goodput ${GOODPUT_SHARE_MIN * 100} % of the peak, refusals within ${REFUSED_P99_MS_MAX} ms, memory flat`,
  takes: ["seconds"],
  async run(site, { seconds = 60 }) {
    const shop = await ClusterShop.open(site);
    const closedPeakPerSecond = await shop.peak();
    let memory: Megabytes[] = [];
    const run = async (perSecond: number, duration: number, stubPerSecond = 0): Promise<Sent> => {
      shop.begin(perSecond, { repeats: false, stubPerSecond });
      memory = [];
      for (
        const until = performance.now() + (RUN_IN_SECONDS + duration) * 1_000;
        performance.now() < until;
      ) {
        await site.pause(MEMORY_SAMPLE_MS);
        memory.push(memoryOf(shop));
      }
      return shop.end();
    };
    // A closed loop may end below what an open one reaches: then that is the peak, and the measurement begins anew.
    let load = closedPeakPerSecond;
    let [reference, sent, before] = [{} as Sent, {} as Sent, {} as Megabytes];
    let [peakPerSecond, isSaturated] = [0, false];
    for (let n = 1; n <= ATTEMPTS_MAX && !isSaturated; n++) {
      reference = await run(load, REFERENCE_SECONDS, load * (OVERLOAD - 1));
      peakPerSecond = goodput(reference, REFERENCE_SECONDS);
      site.say(`peak beside as many requests to a stub: ${peakPerSecond} per second`);
      // What the first load makes every process allocate is no leak of the overload.
      before = memoryOf(shop);
      sent = await run(load * OVERLOAD, seconds);
      isSaturated = goodput(sent, seconds) < SATURATED_SHARE_MAX * load * OVERLOAD;
      if (!isSaturated) load *= OVERLOAD;
    }
    await site.pause(REST_MS);
    const after = memoryOf(shop);
    const report = await shop.audit();
    site.say(auditLine(report));

    const counted = countedOf(sent);
    const refused = counted.filter(({ outcome }) => outcome.startsWith("503"));
    const others = counted.filter(({ outcome }) => outcome !== "ok" && !outcome.startsWith("503"));
    const goodputPerSecond = goodput(sent, seconds);
    // Whichever is more: a shop that sold little beside the stub would make any overload look well.
    const share =
      Math.round((goodputPerSecond / Math.max(peakPerSecond, closedPeakPerSecond)) * 1_000) / 1_000;
    const growth = growthOf(memory);
    const [grewMost = "", memoryFactorMax = 0] =
      Object.entries(growth).sort(([, a], [, b]) => b - a)[0] ?? [];
    const memoryFactor = hundredths(total(after) / total(before));
    const refusedP99Ms = p(refused, 0.99);
    const withoutRetryAfter = refused.filter(({ retryAfter }) => !retryAfter).length;
    const othersShare = Math.round((others.length / counted.length) * 10_000) / 10_000;
    const auditOk = report.ok && report.inDoubt === 0 && report.doubled === 0;
    return {
      closedPeakPerSecond,
      peakPerSecond,
      offeredPerSecond: sent.perSecond,
      isSaturated,
      goodputPerSecond,
      goodputShare: share,
      okP50Ms: p(okOf(counted), 0.5),
      okP99Ms: p(okOf(counted), 0.99),
      refused: refused.length,
      refusedP50Ms: p(refused, 0.5),
      refusedP99Ms,
      withoutRetryAfter,
      otherOutcomes: countBy(others),
      othersShare,
      rssMbBefore: total(before),
      rssMbAfter: total(after),
      memoryFactor,
      memoryFactorMax,
      grewMost,
      generatorCpuPeak: reference.generatorCpu,
      generatorCpu: sent.generatorCpu,
      auditOk,
      ok:
        isSaturated &&
        share >= GOODPUT_SHARE_MIN &&
        refused.length > 0 &&
        refusedP99Ms < REFUSED_P99_MS_MAX &&
        withoutRetryAfter === 0 &&
        othersShare <= OTHERS_SHARE_MAX &&
        Object.keys(before).every((id) => id in after) &&
        memoryFactor <= MEMORY_FACTOR_MAX &&
        memoryFactorMax <= MEMORY_FACTOR_MAX &&
        auditOk,
    };
  },
};

const okOf = (requests: Request[]): Request[] => requests.filter(({ outcome }) => outcome === "ok");

/** Those that were sent after the run-in. */
function countedOf({ requests }: Sent): Request[] {
  const first = requests.reduce((min, { sentAt }) => Math.min(min, sentAt), Number.POSITIVE_INFINITY);
  return sentBetween(requests, first + RUN_IN_SECONDS * 1_000, Number.POSITIVE_INFINITY);
}

const goodput = (sent: Sent, seconds: number): number =>
  Math.round((okOf(countedOf(sent)).length / seconds) * 10) / 10;

function p(requests: Request[], share: number): number {
  const sorted = requests.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  return sorted.length === 0 ? 0 : Math.round(percentile(sorted, share));
}

function countBy(requests: Request[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind, outcome } of requests)
    counts[`${kind}: ${outcome}`] = (counts[`${kind}: ${outcome}`] ?? 0) + 1;
  return counts;
}

/** Resident, of every worker, by node. */
type Megabytes = Record<string, number>;

/** Of Linux's process table. */
function memoryOf(shop: ClusterShop): Megabytes {
  return Object.fromEntries(
    shop.cluster.workers().map(({ nodeID, pid }) => {
      const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
      return [nodeID, Math.round(Number(kilobytes) / 1_024)];
    }),
  );
}

/** By node: its mean in the last third of the samples against that in the middle third. */
function growthOf(samples: readonly Megabytes[]): Record<string, number> {
  const third = Math.floor(samples.length / 3);
  const mean = (id: string, from: number): number =>
    samples.slice(from, from + third).reduce((sum, each) => sum + (each[id] ?? 0), 0);
  const ids = Object.keys(samples.at(-1) ?? {});
  return Object.fromEntries(ids.map((id) => [id, hundredths(mean(id, 2 * third) / mean(id, third))]));
}

const hundredths = (value: number): number => Math.round(value * 100) / 100;

const total = (megabytes: Megabytes): number => Object.values(megabytes).reduce((sum, each) => sum + each, 0);
