/**
 * The worst relay that the promise allows for, and worse: the drill takes the relay's place and sends the orders' events
 * in any order, a fifth of them twice, and one that cannot be taken. Each must have its effect once; the bad one must
 * become a dead letter after five tries, must not hold up its partition for long, and must have its effect when it is
 * replayed after its cause has gone.
 */
import { text } from "node:stream/consumers";
import type { ShopEvent } from "../../lib/event.ts";
import { Kafka } from "../../mixins/events/kafka.ts";
import { topicName } from "../../mixins/events/topics.ts";
import { Crowd } from "./crowd.ts";
import type { Drill } from "./drill.ts";
import { EventChain, isWhole } from "./event.chain.ts";
import { type Delivered, EventServers } from "./event.servers.ts";
import { anySeed, seeded, shuffled } from "./random.ts";
import { auditLine, Shop } from "./shop.ts";
import { endOf, type Site } from "./site.ts";

const PER_SECOND = 150;
const DOUBLED_SHARE = 0.2;
/** Sent together, a quarter second apart, as by a relay. */
const SENT_AT_ONCE = 100;
const SENT_EVERY_MS = 250;
const TRIES = 5;
const BLOCKED_MS_MAX = 30_000;
/** A relay knows for so long that it holds the lease. */
const LEASE_MS = 10_000;
const THROUGH_MS_MAX = 120_000;

export const duplicates: Drill = {
  name: "duplicates",
  about: `a fifth of the events twice, all in any order: one effect each; a poison event is a dead letter after ${TRIES} tries, and replayable`,
  takes: ["orders", "seed"],
  async run(site, { orders = 2_000, seed = anySeed() }) {
    site.say(`--seed ${seed}`);
    const random = seeded(seed);
    const servers = await EventServers.open(site);
    const shop = await Shop.open(site, servers.env);
    const chain = new EventChain((...query) => shop.query(...query), servers);
    await shop.query("order", "update relay set holder = 'drill', held_until = 'infinity'");
    const [crowd] = await Promise.all([Crowd.gather(site, shop.url), site.pause(LEASE_MS)]);
    crowd.begin(PER_SECOND, { mix: { orders: 1, declined: 0 } });
    await site.pause((orders / PER_SECOND) * 1_000);
    const { orderIds } = await crowd.end();

    const events = await shop.query<ShopEvent>(
      "order",
      `select id, type, version, key, payload, created_at as time, trace as traceparent
       from outbox order by sequence`,
    );
    const [poison, ...others] = shuffled(events, random);
    if (!poison) throw new Error(`${orderIds.length} orders have told nothing`);
    await shop.query(
      "notification",
      `alter table notifications add constraint poison check (event_id <> '${poison.id}')`,
    );
    const doubles = others.slice(0, Math.round(events.length * DOUBLED_SHARE));
    const sent = shuffled([...others, ...doubles], random);
    sent.splice(sent.length / 2, 0, poison);
    site.say(`sending ${events.length} events, ${doubles.length} of them twice`);
    await send(site, servers, sent);
    await shop.query(
      "order",
      `update outbox set published_at = now(), position = nextval('outbox_position') where position is null`,
    );
    await shop.query(
      "order",
      `insert into outbox_readers (consumer, position) select 'kafka', max(position) from outbox
       on conflict (consumer) do update set position = excluded.position`,
    );
    await chain.untilThrough(site, THROUGH_MS_MAX);

    const [letter, ...moreLetters] = await shop.query<{ id: string; attempts: number }>(
      "notification",
      "select id, attempts from dead_letters",
    );
    const topics = await servers.withAdmin(async (admin) => ({
      dead: await servers.topics(admin, { dead: true }),
      alive: await servers.topics(admin, { dead: false }),
    }));
    const dead = await servers.read(topics.dead);
    const blockedMs = await longestWaitBehind(shop, await servers.read(topics.alive), poison.id);
    site.say(
      `${dead.length} dead letters, ${letter?.attempts} tries; behind it events waited ${blockedMs} ms at most`,
    );

    await shop.query("notification", "alter table notifications drop constraint poison");
    const replayed = letter !== undefined && (await replay(site, shop, letter.id));
    await chain.untilThrough(site, THROUGH_MS_MAX);
    const figures = await chain.judge();
    const lettersLeft = (await shop.query("notification", "select from dead_letters")).length;
    const report = await shop.audit({ acknowledged: orderIds, eventsSettled: true });
    site.say(auditLine(report));
    const auditOk = report.ok && report.inDoubt === 0;
    return {
      seed,
      events: events.length,
      doubled: doubles.length,
      overtaken: countOvertaken(events, sent),
      ...figures,
      deadLetters: dead.length,
      deadLetterTries: letter?.attempts,
      deadLetterHeaders: Object.keys(dead[0]?.headers ?? {}),
      blockedMs,
      replayed,
      lettersLeft,
      auditOk,
      ok:
        auditOk &&
        isWhole(figures) &&
        figures.mailsRepeated === 0 &&
        figures.deliveredAgain === doubles.length &&
        moreLetters.length === 0 &&
        letter?.attempts === TRIES &&
        dead.length === 1 &&
        ["error", "stack", "attempts"].every((name) => dead[0]?.headers[name]) &&
        blockedMs < BLOCKED_MS_MAX &&
        replayed &&
        lettersLeft === 0,
    };
  },
};

/** How many are sent after one that was told later. */
function countOvertaken(told: readonly ShopEvent[], sent: readonly ShopEvent[]): number {
  const places = new Map(told.map((event, place) => [event, place]));
  let latest = -1;
  return [...new Set(sent)].filter((event) => {
    const place = places.get(event) as number;
    latest = Math.max(latest, place);
    return place < latest;
  }).length;
}

async function send(site: Site, servers: EventServers, events: readonly ShopEvent[]): Promise<void> {
  const kafka = new Kafka({
    ...{
      brokers: [servers.kafka.server.url],
      clientId: "drill",
      partitions: 3,
      replication: 1,
      retentionDays: 1,
    },
    log: (line) => site.log("kafka-client", line),
  });
  try {
    for (let from = 0; from < events.length; from += SENT_AT_ONCE) {
      const batch = events.slice(from, from + SENT_AT_ONCE);
      await kafka.publish(
        topicName(servers.namespace, "orders"),
        batch.map((event) => ({ key: event.key, value: JSON.stringify(event), headers: {} })),
      );
      await site.pause(SENT_EVERY_MS);
    }
  } finally {
    await kafka.close();
  }
}

/** Of the events that came after the poison in its partition: from when Kafka had one until it had its effect, at most. */
async function longestWaitBehind(shop: Shop, delivered: Delivered[], poisonId: string): Promise<number> {
  const idOf = ({ value }: Delivered): string => JSON.parse(value).id;
  const at = delivered.findIndex((each) => idOf(each) === poisonId);
  const before = new Set(delivered.slice(0, at).map(idOf));
  const { topic, partition } = delivered[at] as Delivered;
  const cameAt = new Map<string, number>();
  for (const each of delivered.slice(at + 1)) {
    const id = idOf(each);
    const isBehind = each.topic === topic && each.partition === partition && !before.has(id);
    if (isBehind && !cameAt.has(id)) cameAt.set(id, each.atMs);
  }
  const taken = await shop.query<{ id: string; at: Date }>(
    "notification",
    "select event_id as id, received_at as at from notifications where event_id = any($1)",
    [[...cameAt.keys()]],
  );
  if (taken.length === 0) throw new Error("no event was sent behind the poison: send more, with --orders");
  return Math.max(...taken.map(({ id, at: takenAt }) => takenAt.getTime() - (cameAt.get(id) as number)));
}

/** As an operator does it. */
async function replay(site: Site, shop: Shop, id: string): Promise<boolean> {
  const child = site.run(process.execPath, ["scripts/events.ts", "replay", id, "--json"], "events", {
    env: { DATA_DIR: shop.dataDir },
    piped: true,
  });
  const [said, ended] = await Promise.all([
    text(child.stdout as NodeJS.ReadableStream & AsyncIterable<Uint8Array>),
    endOf(child),
  ]);
  if (ended !== 0) site.say(`npm run events -- replay ended with ${ended}: ${said} ${site.tailOf("events")}`);
  return ended === 0;
}
