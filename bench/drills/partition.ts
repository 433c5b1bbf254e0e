/**
 * Each link of the cluster is cut, cut one way, and slowed by 2 s, one after the other, while customers buy: node to NATS
 * (for a node of each participant, which is also the link from manager to participant, and for a manager's), and
 * service to its database. What must hold: no violation, requests that do not need the link succeed, and all do from
 * 10 s after the link is whole again.
 */
import { databaseName } from "../../config/database.ts";
import type { DatabaseName, ServiceName } from "../../config/index.ts";
import { ClusterShop } from "./cluster.shop.ts";
import type { Drill } from "./drill.ts";
import { databaseOf, type Fault, natsNameOf, TcpProxy } from "./proxy.ts";
import { auditLine } from "./shop.ts";
import { failed, type Kind, monotonicMs, outcomes, type Request, sentBetween } from "./traffic.ts";

/** Modest: everything passes through this process too. */
const LOAD_SHARE = 0.2;
const BROKEN_MS = 5_000;
const HEALED_MS_MAX = 10_000;
const DELAY_MS = 2_000;

const MODES = {
  cut: { cut: ["up", "down"] },
  "cut-up": { cut: ["up"] },
  "cut-down": { cut: ["down"] },
  slow: { delayMs: DELAY_MS },
} as const satisfies Record<string, Fault>;
type Mode = keyof typeof MODES;

interface Case {
  link: "nats" | "database";
  service: ServiceName & DatabaseName;
  mode: Mode;
}

/** One of the two ways is enough for each link: both occur on each kind of link. */
const CASES: readonly Case[] = [
  ...(["product", "payment", "order"] as const).flatMap((service, i): Case[] => [
    { link: "nats", service, mode: "cut" },
    { link: "nats", service, mode: i % 2 === 0 ? "cut-up" : "cut-down" },
    { link: "nats", service, mode: "slow" },
  ]),
  ...(["product", "payment", "order", "transaction-manager"] as const).flatMap((service, i): Case[] => [
    { link: "database", service, mode: "cut" },
    { link: "database", service, mode: i % 2 === 0 ? "cut-down" : "cut-up" },
    { link: "database", service, mode: "slow" },
  ]),
];

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
  failed: number;
  unaffectedFailed: number;
  healedMs: number;
}

export const partition: Drill = {
  name: "partition",
  about: `links to NATS and to databases cut, cut one way, slowed by 2 s: no violation, healed within ${HEALED_MS_MAX / 1_000} s`,
  takes: ["times"],
  async run(site, { times = 1 }) {
    let nats: TcpProxy | undefined;
    let postgres: TcpProxy | undefined;
    site.onClose(async () => {
      for (const proxy of [nats, postgres]) proxy?.heal();
      for (const proxy of [nats, postgres]) await proxy?.close();
    });
    const shop = await ClusterShop.open(site, {
      via: async (links) => {
        nats = await TcpProxy.listen({ target: targetOf(links.nats), nameOf: natsNameOf, serverFirst: true });
        postgres = await TcpProxy.listen({ target: targetOf(links.postgres), nameOf: databaseOf });
        const through = Object.assign(new URL(links.postgres.href), { port: String(postgres.port) });
        return { TRANSPORTER: `nats://127.0.0.1:${nats.port}`, DATABASE_URL: through.href };
      },
    });
    const peakPerSecond = await shop.peak();
    const results: Result[] = [];
    let [requests, failures, generatorCpu, auditOk] = [0, 0, 0, true];
    for (let n = 1; n <= times; n++)
      for (const each of CASES) {
        const proxy = (each.link === "nats" ? nats : postgres) as TcpProxy;
        const name = each.link === "nats" ? shop.workerOf(each.service).nodeID : databaseName(each.service);
        if (!proxy.names.includes(name)) throw new Error(`${name} has no connection through the proxy`);
        shop.begin(peakPerSecond * LOAD_SHARE);
        await site.pause(1_000);
        const brokenAt = monotonicMs();
        proxy.lay(name, MODES[each.mode]);
        await site.pause(BROKEN_MS);
        proxy.heal();
        const healedAt = monotonicMs();
        await site.pause(2_000);
        const sent = await shop.end();
        const during = sentBetween(sent.requests, brokenAt, healedAt);
        const unaffected = failed(during).filter(({ kind }) => isUnaffected(each, kind));
        let after = failed(sentBetween(sent.requests, healedAt, Number.POSITIVE_INFINITY));
        let healedMs = lastOf(after, healedAt);
        if (after.length > 0) {
          // Not yet whole in the first two seconds: then the next ten are looked at too.
          shop.begin(peakPerSecond * LOAD_SHARE);
          await site.pause(HEALED_MS_MAX);
          const more = await shop.end();
          after = failed(more.requests);
          healedMs = Math.max(healedMs, lastOf(after, healedAt));
          requests += more.requests.length;
          failures += after.length;
        }
        requests += sent.requests.length;
        failures += failed(sent.requests).length;
        generatorCpu = Math.max(generatorCpu, sent.generatorCpu);
        results.push({
          ...each,
          failed: failed(during).length,
          unaffectedFailed: unaffected.length,
          healedMs,
        });
        site.say(
          `${nameOf(each)} (${name}): ${failed(during).length} of ${during.length} failed ${JSON.stringify(outcomes(during))}, of the unaffected ${unaffected.length} ${JSON.stringify(outcomes(unaffected))}; healed after ${healedMs} ms`,
        );
      }
    const report = await shop.audit();
    site.say(auditLine(report));
    auditOk &&= report.ok && report.inDoubt === 0 && report.doubled === 0;
    const slowest = Math.max(...results.map(({ healedMs }) => healedMs));
    const unaffectedFailed = results.reduce((sum, result) => sum + result.unaffectedFailed, 0);
    return {
      peakPerSecond,
      perSecond: Math.round(peakPerSecond * LOAD_SHARE),
      cases: results.length,
      requests,
      failed: failures,
      failedDuring: Object.fromEntries(results.map((result) => [nameOf(result), result.failed])),
      unaffectedFailed: Object.fromEntries(
        results
          .filter((each) => each.unaffectedFailed > 0)
          .map((each) => [nameOf(each), each.unaffectedFailed]),
      ),
      healedMs: Object.fromEntries(results.map((result) => [nameOf(result), result.healedMs])),
      healedMsMax: slowest,
      acknowledged: shop.acknowledged,
      inDoubt: report.inDoubt,
      generatorCpu,
      auditOk,
      ok: auditOk && unaffectedFailed === 0 && slowest < HEALED_MS_MAX,
    };
  },
};

/** A node that is cut off has a twin: what needs neither it nor its callers must not notice. */
function isUnaffected({ link, service }: Case, kind: Kind): boolean {
  if (link === "database") return UNAFFECTED[service].includes(kind);
  return kind === "login" || (kind === "read" && service !== "product");
}

const nameOf = ({ link, service, mode }: Case): string => `${link} ${service} ${mode}`;
const targetOf = (url: URL) => ({ host: url.hostname, port: Number(url.port) });
const lastOf = (requests: readonly Request[], from: number): number =>
  Math.round(requests.reduce((last, { sentAt }) => Math.max(last, sentAt - from), 0));
