/**
 * What a node tells Prometheus about the shop: every metric's name, and where its values come from. Whoever has
 * something to tell registers a reading with `measure`; readings are taken when somebody scrapes, from numbers that
 * exist anyway, so nothing here costs a message or a call anything. A reading that fails is left out and counted.
 */
import type { ServiceBroker } from "moleculer";
import { expose, type Family, type Sample } from "../lib/exposition.ts";

/** [type, help]. `shop_` first, the unit last; k8s/ and docs/ may use no other names, which npm run k8s:check sees to. */
export const METRICS = {
  shop_node_ready: ["gauge", "1 where the node may be sent requests"],
  shop_event_loop_delay_seconds: ["gauge", "How late the event loop was since the last scrape, by quantile"],
  shop_process_resident_bytes: ["gauge", "Memory that the process holds"],
  shop_process_cpu_seconds_total: ["counter", "Processor time that the process has used"],
  shop_readings_failed_total: ["counter", "Readings that were left out of a scrape because they failed"],
  shop_calls_total: ["counter", "Calls that this node answered, by action and outcome (ok, refused, failed)"],
  shop_call_seconds: ["histogram", "Time that they took"],
  shop_actor_failing: ["gauge", "1 where a mailbox or loop has failed several times in a row"],
  shop_mailbox_depth_messages: ["gauge", "Messages that wait"],
  shop_mailbox_in_flight_batches: ["gauge", "Batches being worked on"],
  shop_mailbox_batch_largest_messages: ["gauge", "The largest batch so far"],
  shop_mailbox_messages_total: ["counter", "Messages that work was begun on"],
  shop_mailbox_batches_total: ["counter", "Batches begun; messages by batches is the mean batch"],
  shop_mailbox_overloaded_messages_total: ["counter", "Messages refused because the mailbox was full"],
  shop_mailbox_expired_messages_total: [
    "counter",
    "Messages dropped because their deadline passed as they waited",
  ],
  shop_mailbox_failures_total: ["counter", "Batches that failed"],
  shop_mailbox_wait_seconds_total: ["counter", "Time that messages waited; by messages it is the mean wait"],
  shop_mailbox_work_seconds_total: [
    "counter",
    "Time that batches took; by batches it is the mean batch time",
  ],
  shop_transactions_total: ["counter", "Transactions that a manager here ran, by the outcome it answered"],
  shop_in_doubt_transactions: ["gauge", "Votes prepared for a second or more without a known outcome"],
  shop_in_doubt_oldest_seconds: ["gauge", "Age of the oldest of them, 0 where there is none"],
  shop_heuristics_open_transactions: [
    "gauge",
    "Votes that an operator changed without the register, not closed yet",
  ],
  shop_outbox_unpublished_events: [
    "gauge",
    "Events that nobody has been told of yet, 10,000 meaning that or more",
  ],
  shop_outbox_oldest_seconds: ["gauge", "Age of the oldest of them, 0 where there is none"],
  shop_outbox_refused_events: ["gauge", "Events that Kafka refused, which wait for an operator"],
  shop_consumer_lag_events: [
    "gauge",
    "Events that were published and have not had their effect at a consumer, by topic, 10,000 meaning that or more",
  ],
  shop_consumer_lag_seconds: ["gauge", "Age of the oldest of them, 0 where there is none"],
  shop_catalogue_delay_seconds: [
    "gauge",
    "Longest time since the last scrape from the beginning of an edit until a replica had forgotten what it remembered",
  ],
  shop_dead_letters: ["gauge", "Events that could not be taken and wait for an operator"],
  shop_dead_letters_total: ["counter", "Events that became dead letters at this node, by topic"],
  shop_mails_total: ["counter", "Mails that this node was done with, by outcome (sent, failed)"],
  shop_mail_repeats_total: [
    "counter",
    "Mails sent again because whoever had them was killed, or lost the answer; some arrived twice",
  ],
  shop_mail_claims_lapsed_total: [
    "counter",
    "Claims on mail that this node ended because their owner was killed, or asleep; of each, a batch of mails is repeated",
  ],
  shop_mails_pending: ["gauge", "Mails that wait to be sent, 10,000 meaning that or more"],
  shop_mail_oldest_seconds: ["gauge", "For how long the oldest of them does, 0 where there is none"],
  shop_mails_failed: ["gauge", "Mails that could not be sent for good, 10,000 meaning that or more"],
  shop_pool_connections: ["gauge", "Database connections, by state"],
  shop_pool_waiting_queries: ["gauge", "Queries that wait for a database connection"],
  shop_breaker_open: [
    "gauge",
    "1 where calls leave out a node because it keeps failing, 0.5 where it is tried again",
  ],
} as const satisfies Record<string, readonly [Family["type"], string]>;
export type MetricName = keyof typeof METRICS;

export type Reading = readonly [
  name: MetricName,
  value: number,
  labels?: Readonly<Record<string, string>>,
  suffix?: string,
];
type Source = () => Iterable<Reading> | Promise<Iterable<Reading>>;

const sources = new WeakMap<object, Source[]>();
const failures = new WeakMap<ServiceBroker, number>();

/** A database that does not answer must not keep the rest from being scraped. */
const READING_MS_MAX = 2_000;

/** Adds what `owner`, a service or a broker, has to tell. A service's readings carry its name as label `service`. */
export function measure(owner: object, source: Source): void {
  const known = sources.get(owner);
  if (known) known.push(source);
  else sources.set(owner, [source]);
}

/** All readings of the node in Prometheus' text format. */
export async function scrape(broker: ServiceBroker): Promise<string> {
  const samples = new Map<MetricName, Sample[]>();
  const add = ([name, value, labels = {}, suffix]: Reading, service?: string): void => {
    const list = samples.get(name) ?? [];
    list.push({ labels: service === undefined ? labels : { service, ...labels }, value, suffix });
    samples.set(name, list);
  };
  const read = async (source: Source, service?: string): Promise<void> => {
    try {
      for (const reading of await inTime(source())) add(reading, service);
    } catch (err) {
      failures.set(broker, (failures.get(broker) ?? 0) + 1);
      broker.logger.warn(`what ${service ?? "the node"} measures cannot be read:`, err);
    }
  };
  const owners: [object, string?][] = [
    [broker],
    ...broker.services.map((service): [object, string] => [service, service.name]),
  ];
  await Promise.all(
    owners.flatMap(([owner, service]) => (sources.get(owner) ?? []).map((source) => read(source, service))),
  );
  add(["shop_readings_failed_total", failures.get(broker) ?? 0]);
  return expose(
    Object.entries(METRICS).map(([name, [type, help]]) => ({
      name,
      type,
      help,
      samples: samples.get(name as MetricName) ?? [],
    })),
  );
}

async function inTime<Result>(work: Result | Promise<Result>): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not in ${READING_MS_MAX} ms`)), READING_MS_MAX);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
