/**
 * Orders, some of them declined, while relays, consumers and Kafka are killed (kill -9) at random and come back, and
 * somebody edits products so that keys have many events. Afterwards everything must have gone through: one event per
 * confirmed order, one effect and one mail per event, in order per key.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ClusterShop } from "./cluster.shop.ts";
import { Customers } from "./customers.ts";
import type { Drill } from "./drill.ts";
import { EventChain, isWhole } from "./event.chain.ts";
import { EventServers } from "./event.servers.ts";
import { anySeed, seeded, shuffled } from "./random.ts";
import { auditLine } from "./shop.ts";
import { monotonicMs, outcomes } from "./traffic.ts";

/** Below what two cores carry with everything else on them. */
const PER_SECOND = 120;
const MIX = { orders: 1, declined: 0.1 };
/** Two relays of orders and of products, and two consumers: one takes over from the other. */
const REPLICAS = { api: 1, auth: 1, user: 1, product: 2, order: 2, payment: 1, notification: 2 };
/** Long enough that mails are always on their way, so that whoever is killed has some in hand. */
const ANSWER_MS = 100;
/** Whose relay is killed, in turn: one has most events, the other those whose keys have many. */
const TELLERS = ["order", "product"] as const;
const VICTIMS = ["relay", "consumer", "kafka"] as const;
/** A chain that has lost its relay or a consumer stands still for ten seconds or more: some kills shall hit one that runs. */
const BETWEEN_MS_MAX = 12_000;
const KAFKA_AWAY_MS_MAX = 3_000;
const REPLACED_MS_MAX = 60_000;
const THROUGH_MS_MAX = 120_000;
const EDITED = 4;
const EDIT_PAUSE_MS = 200;

export const eventsChaos: Drill = {
  name: "events-chaos",
  about:
    "relays, consumers and Kafka killed under 10,000 orders: one event, effect and mail per order, in order, no lag",
  takes: ["orders", "times", "seed"],
  async run(site, { orders = 10_000, times = 12, seed = anySeed() }) {
    site.say(`--seed ${seed}`);
    const random = seeded(seed);
    const servers = await EventServers.open(site, { answerMs: ANSWER_MS });
    const shop = await ClusterShop.open(site, { via: async () => servers.env, replicas: REPLICAS });
    const chain = new EventChain((...query) => shop.query(...query), servers);
    const editing = edit(shop.cluster.url);
    site.onClose(() => editing.end());

    const kills = { relay: 0, consumer: 0, kafka: 0 };
    /** The one that publishes, not the one that waits for it to go. */
    const relayPid = async (): Promise<number> => {
      const teller = TELLERS[kills.relay % TELLERS.length] as (typeof TELLERS)[number];
      const [row] = await shop.query<{ holder: string | null }>(teller, "select holder from relay");
      const ready = shop.cluster.workers(teller).filter(({ state }) => state === "ready");
      const holder = ready.find(({ nodeID }) => nodeID === row?.holder);
      return (holder ?? shop.workerOf(teller, random())).pid;
    };
    const strike = async (victim: (typeof VICTIMS)[number]): Promise<void> => {
      kills[victim]++;
      site.say(`kill -9 of ${victim}`);
      if (victim === "kafka") {
        await servers.kafka.kill();
        await site.pause(random() * KAFKA_AWAY_MS_MAX);
        return servers.kafka.revive();
      }
      const pid = victim === "relay" ? await relayPid() : shop.workerOf("notification", random()).pid;
      process.kill(pid, "SIGKILL");
      await shop.untilWhole(REPLACED_MS_MAX);
    };
    const countOrders = async (): Promise<number> => {
      const [row] = await shop.query<{ n: number }>(
        "order",
        "select count(*)::int as n from orders where state = 'committed'",
      );
      return row?.n ?? 0;
    };

    let round: (typeof VICTIMS)[number][] = [];
    const beganAt = monotonicMs();
    shop.begin(PER_SECOND, { mix: MIX });
    for (let n = 0; n < times; n++) {
      await site.pause(random() * BETWEEN_MS_MAX);
      // All of them in each round, so that a few kills hit every kind.
      if (n % VICTIMS.length === 0) round = shuffled(VICTIMS, random);
      await strike(round[n % VICTIMS.length] as (typeof VICTIMS)[number]);
    }
    while ((await countOrders()) < orders) await site.pause(1_000);
    const sent = await shop.end();
    const seconds = Math.round((monotonicMs() - beganAt) / 1_000);
    const edits = await editing.end();
    site.say(
      `${sent.requests.length} requests in ${seconds} s, ${edits} edits; waiting until all events are through`,
    );
    const throughMs = await chain.untilThrough(site, THROUGH_MS_MAX);
    const figures = await chain.judge();
    const report = await shop.audit({ eventsSettled: true });
    site.say(auditLine(report));
    const auditOk = report.ok && report.inDoubt === 0 && report.doubled === 0;
    return {
      seed,
      orders,
      perSecond: sent.perSecond,
      failures: outcomes(sent.requests),
      kills,
      edits,
      throughMs,
      ...figures,
      acknowledged: shop.acknowledged,
      inDoubt: report.inDoubt,
      auditOk,
      ok:
        auditOk &&
        isWhole(figures) &&
        figures.mailRepeatsMax <= kills.consumer &&
        figures.keysOfMany >= EDITED,
    };
  },
};

/** Gives a few products new prices, over and over, until the end. */
function edit(url: string): { end(): Promise<number> } {
  let isOver = false;
  let count = 0;
  const admin = new Customers(url, 1);
  const work = (async () => {
    const products = await admin.addProducts(EDITED, 1);
    for (let n = 0; !isOver; n++) {
      if (await admin.editProduct(products[n % EDITED] as string, 1_000 + n)) count++;
      await sleep(EDIT_PAUSE_MS);
    }
  })();
  return {
    async end() {
      isOver = true;
      await work;
      admin.close();
      return count;
    },
  };
}
