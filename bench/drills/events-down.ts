/**
 * Nobody who buys waits for Kafka or for mail. Orders are bought as fast as a shop of one process sells them, in turn
 * with both servers up and with both killed; the rate may hardly differ. With both up, a constant rate of events must be
 * published within a second.
 */
import { eventOf } from "../../lib/event.ts";
import { topicName } from "../../mixins/events/topics.ts";
import { percentile } from "../../scripts/replay/report.ts";
import { Crowd } from "./crowd.ts";
import type { Drill } from "./drill.ts";
import { EventChain, isWhole } from "./event.chain.ts";
import { EventServers } from "./event.servers.ts";
import { auditLine, Shop } from "./shop.ts";
import { outcomes } from "./traffic.ts";

const CLIENTS = 64;
const ORDERS = { orders: 1, declined: 0 };
/** Up and down in turn: a machine that slows down slows both. */
const TURNS = 3;
const DOWN_SHARE_MIN = 0.9;
const LAG_P99_MS_MAX = 1_000;
const EVENTS_PER_SECOND = 500;
const EVENTS_SHARE_MIN = 0.95;
const THROUGH_MS_MAX = 180_000;

export const eventsDown: Drill = {
  name: "events-down",
  about: `Kafka and SMTP killed: orders at ${DOWN_SHARE_MIN * 100} % of the rate with them, or more; with them, ${EVENTS_PER_SECOND} events/s are published within ${LAG_P99_MS_MAX / 1_000} s (p99)`,
  takes: ["seconds", "times"],
  async run(site, { seconds = 8, times = TURNS }) {
    const servers = await EventServers.open(site);
    const shop = await Shop.open(site, servers.env);
    const chain = new EventChain((...query) => shop.query(...query), servers);
    const crowd = await Crowd.gather(site, shop.url);
    const rate = () => crowd.rate(CLIENTS, seconds, ORDERS);
    await rate(); // warms up

    const up: number[] = [];
    const down: number[] = [];
    for (let turn = 0; turn < times; turn++) {
      // What waits is sent as fast as it goes, which is no measure of a shop that keeps up.
      await chain.untilThrough(site, THROUGH_MS_MAX);
      up.push(await rate());
      await Promise.all([servers.kafka.kill(), servers.smtp.kill()]);
      down.push(await rate());
      await Promise.all([servers.kafka.revive(), servers.smtp.revive()]);
      site.say(`orders per second: ${up.at(-1)} with Kafka and SMTP, ${down.at(-1)} without`);
    }
    await chain.untilThrough(site, THROUGH_MS_MAX);

    const since = Date.now();
    crowd.begin(EVENTS_PER_SECOND, { mix: ORDERS });
    await site.pause(2 * seconds * 1_000);
    const { requests, orderIds, perSecond } = await crowd.end();
    const throughMs = await chain.untilThrough(site, THROUGH_MS_MAX);
    const lagsMs = await lagsSince(servers, since);
    const figures = await chain.judge();
    const report = await shop.audit({ acknowledged: orderIds, eventsSettled: true });
    site.say(auditLine(report));

    const downShare = Math.round((sum(down) / sum(up)) * 1_000) / 1_000;
    const eventsPerSecond = Math.round(lagsMs.length / (2 * seconds));
    const lagP99Ms = percentile(lagsMs, 0.99);
    const auditOk = report.ok && report.inDoubt === 0;
    return {
      upPerSecond: up,
      downPerSecond: down,
      downShare,
      offeredPerSecond: perSecond,
      failures: outcomes(requests),
      eventsPerSecond,
      lagP50Ms: percentile(lagsMs, 0.5),
      lagP99Ms,
      lagMaxMs: lagsMs.at(-1),
      throughMs,
      ...figures,
      auditOk,
      ok:
        auditOk &&
        downShare >= DOWN_SHARE_MIN &&
        lagP99Ms < LAG_P99_MS_MAX &&
        // The lag of a shop that told less would say nothing of this rate.
        eventsPerSecond >= EVENTS_PER_SECOND * EVENTS_SHARE_MIN &&
        isWhole(figures),
    };
  },
};

const sum = (numbers: readonly number[]): number => numbers.reduce((total, n) => total + n, 0);

/** From the beginning of each order's transaction until its event was in Kafka's log, of those since then; sorted. */
async function lagsSince(servers: EventServers, since: number): Promise<number[]> {
  const lags = new Map<string, number>();
  for (const { value, atMs } of await servers.read([topicName(servers.namespace, "orders")])) {
    const event = eventOf(value);
    const toldAt = Date.parse(event?.time ?? "");
    if (event && toldAt >= since && !lags.has(event.id)) lags.set(event.id, atMs - toldAt);
  }
  return [...lags.values()].toSorted((one, other) => one - other);
}
