/**
 * The chain of events from end to end, judged by what its two ends have: the orders, the outboxes, Kafka's log, the
 * notifications, the mails that arrived. Every fault is counted, none is forgiven.
 */
import type { DatabaseName } from "../../config/index.ts";
import { eventOf } from "../../lib/event.ts";
import { topicOf } from "../../mixins/events/topics.ts";
import { KINDS } from "../../services/notification/notification.ts";
import type { EventServers } from "./event.servers.ts";
import type { Site } from "./site.ts";

type Query = <Row>(name: DatabaseName, text: string, values?: unknown[]) => Promise<Row[]>;

/** Those that tell events: payment may not have an outbox. */
const TELLERS = ["order", "user", "product"] as const;
/** What notification takes: whoever it concerns gets a mail. */
const MAILED = [...new Set(KINDS.map((kind) => topicOf(kind.split(".")[0] as string)))];
const isMailed = (type: string): boolean => KINDS.some((kind) => kind.startsWith(`${type}.`));
const LOOK_MS = 250;

export interface Backlog {
  /** What Kafka has not acknowledged. */
  unpublished: number;
  /** In Kafka, and not taken by notification; null where a Kafka that has just come back cannot tell yet. */
  untaken: number | null;
  /** Taken, and not mailed. */
  unsent: number;
}

export interface ChainFigures {
  confirmed: number;
  /** Confirmed orders whose order.confirmed.v1 is missing, or is there more than once. */
  untold: number;
  toldTwice: number;
  /** Events of orders that are not confirmed. */
  toldFalsely: number;
  /** Events that have not had their effect, or more than one; effects of no event. */
  effectsMissing: number;
  effectsFalse: number;
  mailsMissing: number;
  mailsFalse: number;
  /** Mails that arrived again, in all, and the most for one Message-ID; what the shop counted itself. */
  mailsRepeated: number;
  mailRepeatsMax: number;
  mailRepeatsCounted: number;
  /** Deliveries of Kafka's beyond the first of each event. */
  deliveredAgain: number;
  /** Keys with more than one event, and those of them that Kafka has in another order. */
  keysOfMany: number;
  keysOutOfOrder: number;
}

export class EventChain {
  readonly #query: Query;
  readonly #servers: EventServers;

  constructor(query: Query, servers: EventServers) {
    this.#query = query;
    this.#servers = servers;
  }

  async backlog(): Promise<Backlog> {
    const unpublished = await Promise.all(
      TELLERS.map((name) =>
        this.#count(
          name,
          `select count(*)::int as n from outbox where published_at is null
             or position > coalesce((select position from outbox_readers where consumer = 'kafka'), 0)`,
        ),
      ),
    );
    return {
      unpublished: unpublished.reduce((sum, n) => sum + n, 0),
      untaken: await this.#servers.lagOf("notification", MAILED).catch(() => null),
      unsent: await this.#count("notification", "select count(*)::int as n from mails"),
    };
  }

  /** Resolves when everything is published, taken and mailed, with how long that took; throws with what is left. */
  async untilThrough(site: Site, msMax: number, { mailed = true } = {}): Promise<number> {
    const startedAt = performance.now();
    for (;;) {
      const left = await this.backlog();
      const wanted = mailed ? left : { ...left, unsent: 0 };
      const ms = Math.round(performance.now() - startedAt);
      if (Object.values(wanted).every((n) => n === 0)) return ms;
      if (ms > msMax) throw new Error(`after ${msMax / 1_000} s events still wait: ${JSON.stringify(left)}`);
      await site.pause(LOOK_MS);
    }
  }

  /** When everything is through. */
  async judge(): Promise<ChainFigures> {
    const confirmed = new Set(await this.#ids("order", "select id from orders where state = 'committed'"));
    const told = await this.#query<{ key: string; n: number }>(
      "order",
      "select key, count(*)::int as n from outbox where type = 'order.confirmed' and version = 1 group by key",
    );
    const tellings = new Map(told.map(({ key, n }) => [key, n]));
    const effects = await this.#query<{ id: string; status: string; repeats: number }>(
      "notification",
      "select event_id as id, status, repeats from notifications",
    );
    const sequences = await this.#sequences();
    const wanted = [...sequences.values()].filter(({ isMailed }) => isMailed).map(({ id }) => id);
    const affected = new Set(effects.map(({ id }) => id));
    const arrivals = countBy(
      (await this.#servers.smtp.server.mails()).map(({ messageId }) => messageId.replace(/^<|@.*$/g, "")),
    );
    const repeats = [...arrivals.values()].map((n) => n - 1);
    return {
      confirmed: confirmed.size,
      untold: countOf([...confirmed], (id) => !tellings.has(id)),
      toldTwice: countOf(told, ({ n }) => n > 1),
      toldFalsely: countOf(told, ({ key }) => !confirmed.has(key)),
      effectsMissing: countOf(wanted, (id) => !affected.has(id)),
      effectsFalse: countOf(effects, ({ id }) => !sequences.has(id)),
      mailsMissing: countOf(wanted, (id) => !arrivals.has(id)),
      mailsFalse: countOf([...arrivals.keys()], (id) => !affected.has(id)),
      mailsRepeated: repeats.reduce((sum, n) => sum + n, 0),
      mailRepeatsMax: Math.max(0, ...repeats),
      mailRepeatsCounted: effects.reduce((sum, { repeats: n }) => sum + n, 0),
      ...(await this.#orderOfKeys(sequences)),
    };
  }

  async #orderOfKeys(
    sequences: ReadonlyMap<string, { sequence: number }>,
  ): Promise<Pick<ChainFigures, "deliveredAgain" | "keysOfMany" | "keysOutOfOrder">> {
    const topics = await this.#servers.withAdmin((admin) => this.#servers.topics(admin, { dead: false }));
    const seen = new Set<string>();
    const byKey = new Map<string, number[]>();
    let deliveredAgain = 0;
    for (const { topic, key, value } of await this.#servers.read(topics)) {
      const id = eventOf(value)?.id ?? "";
      if (seen.has(id)) {
        deliveredAgain++;
        continue;
      }
      seen.add(id);
      const place = `${topic} ${key}`;
      byKey.set(place, [...(byKey.get(place) ?? []), sequences.get(id)?.sequence ?? Number.NaN]);
    }
    const many = [...byKey.values()].filter(({ length }) => length > 1);
    const isInOrder = (numbers: number[]) =>
      numbers.every((n, i) => i === 0 || n > (numbers[i - 1] as number));
    return {
      deliveredAgain,
      keysOfMany: many.length,
      keysOutOfOrder: countOf(many, (numbers) => !isInOrder(numbers)),
    };
  }

  /** Of all events that were told, by their ids: the order in which it was done, and whether a user hears of it. */
  async #sequences(): Promise<Map<string, { id: string; sequence: number; isMailed: boolean }>> {
    const rows = await Promise.all(
      TELLERS.map((name) =>
        this.#query<{ id: string; sequence: string; type: string }>(
          name,
          "select id, sequence, type from outbox",
        ),
      ),
    );
    return new Map(
      rows
        .flat()
        .map(({ id, sequence, type }) => [id, { id, sequence: Number(sequence), isMailed: isMailed(type) }]),
    );
  }

  async #count(name: DatabaseName, text: string): Promise<number> {
    return (await this.#query<{ n: number }>(name, text))[0]?.n ?? 0;
  }

  async #ids(name: DatabaseName, text: string): Promise<string[]> {
    return (await this.#query<{ id: string }>(name, text)).map(({ id }) => id);
  }
}

/** What every chain must be, however it was disturbed. */
export const isWhole = (figures: ChainFigures): boolean =>
  figures.confirmed > 0 &&
  [
    figures.untold,
    figures.toldTwice,
    figures.toldFalsely,
    figures.effectsMissing,
    figures.effectsFalse,
    figures.mailsMissing,
    figures.mailsFalse,
    figures.keysOutOfOrder,
  ].every((n) => n === 0) &&
  // A mail that arrived again was known to be one.
  figures.mailsRepeated <= figures.mailRepeatsCounted;

const countOf = <Item>(items: readonly Item[], is: (item: Item) => boolean): number =>
  items.filter(is).length;

function countBy(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
