/**
 * Sends an outbox to Kafka: the lowest unpublished events first, keyed by what they are about, marked after all replicas
 * have acknowledged them. Every event's predecessors of the same key are marked, or in the same batch before it; so
 * however many relays send at once, and however often, the first delivery of each keeps the order of its key. A lease
 * lets one do the work that several could.
 */
import type { ServiceBroker } from "moleculer";
import type { ShopEvent } from "../../lib/event.ts";
import type { Database } from "../database.mixin.ts";
import { tracesOf } from "../traces.ts";
import type { Kafka, OutgoingMessage } from "./kafka.ts";
import type { Outage } from "./outage.ts";
import { markPublished, releaseLease, takeLease, unpublishedEvents } from "./outbox.rows.ts";
import { deadLetterTopicName, type Topic, topicName } from "./topics.ts";

/** How long the others wait where this relay dies; longer than Kafka may take to answer. */
const LEASE_SECONDS = 10;

interface RelayOptions {
  service: string;
  topic: Topic;
  namespace: string;
  nodeId: string;
  broker: ServiceBroker;
  db: Database;
  kafka: Kafka;
  outage: Outage;
}

export class KafkaRelay {
  readonly #options: RelayOptions;
  /** By this process' clock, which does not jump: a relay that believes too long only repeats what another sends. */
  #leaseEndsAt = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  async tick(limit: number): Promise<boolean> {
    const { db, outage } = this.#options;
    if (outage.isPausing || !(await this.#holdsLease())) return false;
    const events = await unpublishedEvents(db, limit);
    const sent = await outage.patiently(async () => {
      await this.#declare();
      if (events.size > 0) await this.#publish([...events.values()]);
      return true;
    });
    if (sent && events.size > 0) await markPublished(db, [...events.keys()]);
    return false;
  }

  async stop(): Promise<void> {
    const { kafka, db, nodeId } = this.#options;
    await kafka.close();
    // Another one begins at once, where the database is there to hear it.
    if (this.#leaseEndsAt > 0) await releaseLease(db, nodeId).catch(() => undefined);
  }

  /** Renewed in the second half of its time. */
  async #holdsLease(): Promise<boolean> {
    const now = performance.now();
    if (now < this.#leaseEndsAt - (LEASE_SECONDS * 1_000) / 2) return true;
    const isOurs = await takeLease(this.#options.db, this.#options.nodeId, LEASE_SECONDS);
    this.#leaseEndsAt = isOurs ? now + LEASE_SECONDS * 1_000 : 0;
    return isOurs;
  }

  #declare(): Promise<void> {
    const { kafka, namespace, topic } = this.#options;
    return kafka.declare([topicName(namespace, topic), deadLetterTopicName(namespace, topic)]);
  }

  async #publish(events: readonly ShopEvent[]): Promise<void> {
    const { broker, kafka, namespace, service, topic } = this.#options;
    const name = topicName(namespace, topic);
    const traces = tracesOf(broker);
    if (!traces) return kafka.publish(name, events.map(messageOf));
    for (const { id, traceparent } of events) traces.resume(service, id, traceparent);
    const ids = events.map(({ id }) => id);
    await traces.batch("publish", service, ids, (options) => {
      const spans = (options as { headers: { traces: Record<string, string> } }).headers.traces;
      return kafka.publish(
        name,
        events.map((event) => messageOf({ ...event, traceparent: spans[event.id] ?? event.traceparent })),
      );
    });
  }
}

/** The value is the whole event; the headers say what it is to those that do not read it. */
const messageOf = (event: ShopEvent): OutgoingMessage => ({
  key: event.key,
  value: JSON.stringify(event),
  headers: {
    id: event.id,
    type: event.type,
    version: String(event.version),
    ...(event.traceparent ? { traceparent: event.traceparent } : {}),
  },
});
