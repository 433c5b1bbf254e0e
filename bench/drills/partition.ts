/**
 * Each link of the cluster is cut, cut one way, and slowed by 2 s, one after the other, while customers buy: a node from
 * all others (NATS and streams together), a node from NATS alone, a service from its callers over their streams alone, and a service from its
 * database. What must hold: no violation, requests that do not need the link succeed, and all do from 10 s after the
 * link is whole again.
 */
import type { DatabaseName, ServiceName } from "../../config/index.ts";
import { ClusterShop } from "./cluster.shop.ts";
import type { Sent } from "./crowd.ts";
import type { Drill } from "./drill.ts";
import { Network } from "./network.ts";
import type { Fault } from "./proxy.ts";
import { auditLine } from "./shop.ts";
import type { Site } from "./site.ts";
import { failed, type Kind, monotonicMs, outcomes, type Request, sentBetween } from "./traffic.ts";

/** Modest: everything passes through this process too. */
const LOAD_SHARE = 0.2;
const WHOLE_MS = 500;
/** Longer than it takes to give up a node or a stream that is silent, so that what comes then is seen too. */
const BROKEN_MS = 4_000;
/** So long that the node gives up its connection to NATS too, after six seconds, and needs a new one. */
const LONG_CUT_MS = 7_000;
/** After healing customers go on for so long at a time, until nothing fails. */
const WINDOW_MS = 1_000;
const HEALED_MS_MAX = 10_000;
const IN_DOUBT_MS_MAX = 10_000;
const DELAY_MS = 2_000;

const MODES = {
  cut: { cut: ["up", "down"] },
  "cut-up": { cut: ["up"] },
  "cut-down": { cut: ["down"] },
  slow: { delayMs: DELAY_MS },
} as const satisfies Record<string, Fault>;
type Mode = keyof typeof MODES;

interface Case {
  link: "node" | "nats" | "stream" | "database";
  service: ServiceName & DatabaseName;
  mode: Mode;
}

/** One of the two ways is enough for each link: both occur on each kind of link. */
const modesOf = (i: number): readonly Mode[] => ["cut", i % 2 === 0 ? "cut-up" : "cut-down", "slow"];
const casesOf = (link: Case["link"], ...services: Case["service"][]): Case[] =>
  services.flatMap((service, i) => modesOf(i).map((mode) => ({ link, service, mode })));

const CASES: readonly Case[] = [
  ...casesOf("node", "product", "payment", "order"),
  ...casesOf("nats", "order"),
  ...casesOf("stream", "product", "payment", "order"),
  ...casesOf("database", "product", "payment", "order", "transaction-manager"),
];

/** Whose streams to a service are meant: a manager's, who lives on an order node; those nodes are called by gateways. */
const CALLERS: Partial<Record<ServiceName, ServiceName>> = {
  product: "order",
  payment: "order",
  order: "api",
};

/** What needs nothing of the service whose database is away. Two nodes share a database, so both are hit. */
const UNAFFECTED: Record<DatabaseName, readonly Kind[]> = {
  product: ["login"],
  payment: ["login", "read"],
  order: ["login", "read"],
  "transaction-manager": ["login", "read"],
  auth: [],
  user: ["read"],
  notification: ["order", "login", "read"],
};

interface Result extends Case {
  /** Sent while the link was broken. */
  failed: number;
  unaffectedFailed: number;
  healedMs: number;
  requests: readonly Request[];
  generatorCpu: number;
}

export const partition: Drill = {
  name: "partition",
  about: `nodes, streams and databases cut off, cut one way, slowed by 2 s: no violation, healed within ${HEALED_MS_MAX / 1_000} s`,
  takes: ["times"],
  async run(site, { times = 1 }) {
    let network: Network | undefined;
    site.onClose(async () => network?.close());
    const shop = await ClusterShop.open(site, {
      via: async (links) => {
        network = await Network.open(links);
        return network.env;
      },
    });
    const peakPerSecond = await shop.peak();
    const results: Result[] = [];
    for (let n = 1; n <= times; n++)
      for (const each of CASES)
        results.push(await breakAndHeal(each, site, shop, network as Network, peakPerSecond * LOAD_SHARE));
    const { report, settledMs } = await settled(site, shop);
    site.say(auditLine(report));
    const auditOk = report.ok && report.inDoubt === 0 && report.doubled === 0;
    const slowest = Math.max(...results.map(({ healedMs }) => healedMs));
    const unaffectedFailed = results.reduce((sum, result) => sum + result.unaffectedFailed, 0);
    const requests = results.flatMap((result) => result.requests);
    const byCase = (figure: "failed" | "unaffectedFailed" | "healedMs") =>
      Object.fromEntries(
        results.filter((result) => result[figure] > 0).map((result) => [nameOf(result), result[figure]]),
      );
    return {
      peakPerSecond,
      perSecond: Math.round(peakPerSecond * LOAD_SHARE),
      cases: results.length,
      requests: requests.length,
      failed: failed(requests).length,
      failedDuring: byCase("failed"),
      unaffectedFailed: byCase("unaffectedFailed"),
      healedMs: byCase("healedMs"),
      healedMsMax: slowest,
      acknowledged: shop.acknowledged,
      inDoubt: report.inDoubt,
      settledMs,
      generatorCpu: Math.max(...results.map((result) => result.generatorCpu)),
      // A worker that ends of a broken link is replaced within the time, and a defect all the same.
      crashes: shop.cluster.crashes,
      auditOk,
      ok: auditOk && unaffectedFailed === 0 && slowest < HEALED_MS_MAX && shop.cluster.crashes === 0,
    };
  },
};

async function breakAndHeal(
  each: Case,
  site: Site,
  shop: ClusterShop,
  network: Network,
  perSecond: number,
): Promise<Result> {
  shop.begin(perSecond);
  await site.pause(WHOLE_MS);
  const brokenAt = monotonicMs();
  site.log("cluster", `broken ${nameOf(each)}`);
  const what = breakLink(each, shop, network);
  await site.pause(
    (each.link === "node" || each.link === "nats") && each.mode === "cut" ? LONG_CUT_MS : BROKEN_MS,
  );
  network.heal();
  const healedAt = monotonicMs();
  site.log("cluster", `healed ${nameOf(each)}`);
  await site.pause(WINDOW_MS);
  const windows: Sent[] = [await shop.end()];
  const late = () =>
    sentBetween(failed((windows.at(-1) as Sent).requests), healedAt, Number.POSITIVE_INFINITY);
  while (late().length > 0 && monotonicMs() - healedAt < HEALED_MS_MAX) {
    shop.begin(perSecond);
    await site.pause(WINDOW_MS);
    windows.push(await shop.end());
  }
  const requests = windows.flatMap((window) => window.requests);
  const during = sentBetween(requests, brokenAt, healedAt);
  const unaffected = failed(requests).filter(({ kind }) => isUnaffected(each, kind));
  const after = sentBetween(failed(requests), healedAt, Number.POSITIVE_INFINITY);
  // What still fails in the last window has not healed, whenever the last of it was sent.
  const healedMs = late().length > 0 ? HEALED_MS_MAX : lastOf(after, healedAt);
  site.say(
    `${nameOf(each)} (${what}): ${failed(during).length} of ${during.length} failed ${JSON.stringify(outcomes(during))}, of the unaffected ${unaffected.length} ${JSON.stringify(outcomes(unaffected))}; healed after ${healedMs} ms`,
  );
  return {
    ...each,
    failed: failed(during).length,
    unaffectedFailed: unaffected.length,
    healedMs,
    requests,
    generatorCpu: Math.max(...windows.map(({ generatorCpu }) => generatorCpu)),
  };
}

/** Answers what was broken, for whoever reads. */
function breakLink({ link, service, mode }: Case, shop: ClusterShop, network: Network): string {
  const fault = MODES[mode];
  if (link === "node" || link === "nats") {
    const { nodeID } = shop.workerOf(service);
    if (link === "node") network.breakNode(shop.cluster, nodeID, fault);
    else network.breakNats(nodeID, fault);
    return nodeID;
  }
  if (link === "database") {
    network.breakDatabase(service, fault);
    return "both nodes";
  }
  const callers = CALLERS[service] as ServiceName;
  return `${network.breakStreams(shop.cluster, callers, service, fault)} streams from ${callers}`;
}

/** Audits until nothing is in doubt any more, or the time for that is up. */
async function settled(site: Site, shop: ClusterShop) {
  for (const from = monotonicMs(); ; await site.pause(500)) {
    const report = await shop.audit();
    const settledMs = Math.round(monotonicMs() - from);
    if (report.inDoubt === 0 || settledMs > IN_DOUBT_MS_MAX) return { report, settledMs };
  }
}

/** A node that is cut off has a twin: what needs neither it nor its callers must not notice. Beside a stream there is NATS. */
function isUnaffected({ link, service }: Case, kind: Kind): boolean {
  if (link === "database") return UNAFFECTED[service].includes(kind);
  if (link === "stream") return true;
  return kind === "login" || (kind === "read" && service !== "product");
}

const nameOf = ({ link, service, mode }: Case): string => `${link} ${service} ${mode}`;
const lastOf = (requests: readonly Request[], from: number): number =>
  Math.round(requests.reduce((last, { sentAt }) => Math.max(last, sentAt - from), 0));
