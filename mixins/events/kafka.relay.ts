/**
 * Makes Kafka a reader of an outbox: what comes after the cursor is sent in the order of positions, keyed by what it is
 * about, and the cursor moves when all replicas have acknowledged it. However many relays send at once, and however late
 * one of them goes on, the first delivery of each event comes after those before it; the rest are repeats. A lease lets
 * one do the work that several could. An event that Kafka refuses for what it is is kept for an operator.
 */
import type { ServiceBroker } from "moleculer";
import { kindOf, type ShopEvent } from "../../lib/event.ts";
import type { Database } from "../database.mixin.ts";
import { tracesOf } from "../traces.ts";
import { MessageRefused } from "./kafka.errors.ts";
import type { Kafka, OutgoingMessage } from "./kafka.ts";
import type { Outage } from "./outage.ts";
import { eventsAfter, type PositionedEvent } from "./outbox.rows.ts";
import {
  keepCursor,
  keepRefused,
  moveCursor,
  type Refused,
  readCursor,
  refusedToReplay,
  releaseLease,
  removeRefused,
  rewindCursor,
  takeLease,
} from "./relay.rows.ts";
import { LogReplaced } from "./sent.offsets.ts";
import { deadLetterTopicName, TOPICS, type Topic, topicName } from "./topics.ts";

/** How long the others wait where this relay dies; longer than Kafka may take to answer. */
const LEASE_SECONDS = 10;
/** Several times what is published at once, so that a Kafka that was away catches up. */
const BATCH_MAX = 1_000;
const REPLAYED_MAX = 20;

interface RelayOptions {
  service: string;
  topic: Topic;
  namespace: string;
  nodeId: string;
  broker: ServiceBroker;
  db: Database;
  kafka: Kafka;
  outage: Outage;
  logger: { warn(...args: unknown[]): void; error(...args: unknown[]): void };
}

export class KafkaRelay {
  readonly #options: RelayOptions;
  readonly #name: string;
  /** By this process' clock, which does not jump: a relay that believes too long only repeats what another sends. */
  #leaseEndsAt = 0;
  /** Whether Kafka is known to have the topic, and what was sent there. */
  #isReady = false;
  /** The log that was sent to is not there any more, whatever stands in its place. */
  #isReplaced = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#name = topicName(options.namespace, options.topic);
  }

  /** Renewed in the second half of its time. */
  async holdsLease(): Promise<boolean> {
    const now = performance.now();
    if (now < this.#leaseEndsAt - (LEASE_SECONDS * 1_000) / 2) return true;
    const isOurs = await takeLease(this.#options.db, this.#options.nodeId, LEASE_SECONDS);
    this.#leaseEndsAt = isOurs ? now + LEASE_SECONDS * 1_000 : 0;
    return isOurs;
  }

  /** Sends a batch, where this is the relay that holds the lease. Answers true where there may be more. */
  async send(): Promise<boolean> {
    const { db, outage } = this.#options;
    if (outage.isPausing || !(await this.#begin())) return false;
    const cursor = await readCursor(db);
    if (cursor === undefined) {
      this.#isReady = false;
      return false;
    }
    const events = await eventsAfter(db, cursor, BATCH_MAX);
    const last = events.at(-1);
    if (!last) return false;
    const refused = await this.#patiently(() => this.#publishOrRefuse(events));
    if (!refused) return false;
    await moveCursor(db, cursor, last.position, refused);
    for (const { error } of refused) this.#options.logger.error("an event is kept, the others go on:", error);
    // A page of large events has fewer, and counts as the last; the others wait a quarter second.
    return events.length === BATCH_MAX;
  }

  /** Sends again what was refused and an operator wants sent. Answers true where there may be more. */
  async replay(): Promise<boolean> {
    const { db, outage } = this.#options;
    if (outage.isPausing || !(await this.holdsLease())) return false;
    const events = await refusedToReplay(db, REPLAYED_MAX);
    for (const event of events) {
      const refused = await this.#patiently(() => this.#publishOrRefuse([event]));
      if (!refused) return false;
      if (refused[0]) await keepRefused(db, refused[0]);
      else await removeRefused(db, event.id);
    }
    return events.length === REPLAYED_MAX;
  }

  /**
   * Has Kafka looked at before more is sent: it may have come back without what it had while there was nothing to send.
   * Until then nothing is deleted that it has not got.
   */
  async look(): Promise<void> {
    this.#isReady = false;
    await keepCursor(this.#options.db);
  }

  async stop(): Promise<void> {
    const { kafka, db, nodeId } = this.#options;
    await kafka.close();
    // Another one begins at once, where the database is there to hear it.
    if (this.#leaseEndsAt > 0) await releaseLease(db, nodeId).catch(() => undefined);
  }

  /** Declares the topics, and where there is nothing in it starts again from the beginning. False where Kafka is away. */
  async #begin(): Promise<boolean> {
    if (this.#isReady) return true;
    const { db, kafka, logger, namespace } = this.#options;
    await keepCursor(db);
    const cursor = await readCursor(db);
    const found = await this.#patiently(async () => {
      // All of them, whoever comes first: also those that nothing is told in yet may be subscribed to.
      await kafka.declare(
        (Object.keys(TOPICS) as Topic[]).flatMap((topic) => [
          topicName(namespace, topic),
          deadLetterTopicName(namespace, topic),
        ]),
      );
      return { isEmpty: await kafka.isEmpty(this.#name) };
    });
    if (!found || cursor === undefined) return false;
    if ((found.isEmpty || this.#isReplaced) && (await rewindCursor(db, cursor)))
      logger.warn(`Kafka has lost what ${this.#name} held: what the outbox still has is sent again`);
    this.#isReplaced = false;
    this.#isReady = true;
    return true;
  }

  /** What fails makes the topic be looked for again: Kafka may have come back without it. */
  #patiently<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    return this.#options.outage.patiently(async () => {
      try {
        return await work();
      } catch (err) {
        this.#isReady = false;
        this.#isReplaced ||= err instanceof LogReplaced;
        throw err;
      }
    });
  }

  /** Halves what is refused until the culprits are alone, in order. Answers these. */
  async #publishOrRefuse(events: readonly PositionedEvent[]): Promise<Refused[]> {
    try {
      await this.#publish(events);
      return [];
    } catch (err) {
      if (!(err instanceof MessageRefused)) throw err;
      const [event] = events;
      if (event && events.length === 1) {
        return [{ topic: this.#options.topic, event, error: await this.#refusal(event, err) }];
      }
      const middle = Math.ceil(events.length / 2);
      const first = await this.#publishOrRefuse(events.slice(0, middle));
      return [...first, ...(await this.#publishOrRefuse(events.slice(middle)))];
    }
  }

  async #refusal(event: PositionedEvent, err: MessageRefused): Promise<string> {
    const bytes = Buffer.byteLength(messageOf(event).value);
    const bytesMax = await this.#options.kafka.messageBytesMax(this.#name).catch(() => "unknown");
    return (
      `${kindOf(event)} ${event.id}: ${this.#name} refuses its ${bytes} bytes (max.message.bytes there: ${bytesMax}): ` +
      `${err.message}. Raise the topic's max.message.bytes above that, then npm run events -- replay ${event.id}`
    );
  }

  async #publish(events: readonly PositionedEvent[]): Promise<void> {
    const { broker, kafka, service } = this.#options;
    const traces = tracesOf(broker);
    if (!traces) return kafka.publish(this.#name, events.map(messageOf));
    for (const { id, traceparent } of events) traces.resume(service, id, traceparent);
    const ids = events.map(({ id }) => id);
    await traces.batch("publish", service, ids, (options) => {
      const spans = (options as { headers: { traces: Record<string, string> } }).headers.traces;
      return kafka.publish(
        this.#name,
        events.map((event) => messageOf({ ...event, traceparent: spans[event.id] ?? event.traceparent })),
      );
    });
  }
}

/** The value is the whole event; the headers say what it is to those that do not read it. */
function messageOf({ position: _, ...event }: PositionedEvent): OutgoingMessage {
  const { id, key, type, version, traceparent }: ShopEvent = event;
  return {
    key,
    value: JSON.stringify(event),
    headers: { id, type, version: String(version), ...(traceparent ? { traceparent } : {}) },
  };
}
