/**
 * Carries events by Kafka: a member of the service's consumer group, joined again whenever it has ended. Offsets move
 * after the effect is durable; what is delivered again meets the inbox. Dead letters go to the topic's .dlq before they
 * are kept in the consumer's database, and only then does the offset move.
 */
import { eventOf } from "../../lib/event.ts";
import type { Arrival, DeadLetter } from "./dead.letter.ts";
import { type Delivery, Stopping } from "./delivery.ts";
import { MessageRefused, NoLongerOurs } from "./kafka.errors.ts";
import type { IncomingMessage, Kafka, Membership, OutgoingMessage } from "./kafka.ts";
import type { Outage } from "./outage.ts";
import { deadLetterTopicName, type Topic, topicName } from "./topics.ts";

/**
 * How much of a dead letter's body, and of each header: an error and its stack are for people, not for books. The next
 * where a topic does not take that much; its limit is an operator's.
 */
const SIZES = [
  { bodyChars: Number.POSITIVE_INFINITY, headerChars: 8_000 },
  { bodyChars: 100_000, headerChars: 8_000 },
  { bodyChars: 0, headerChars: 100 },
] as const;

interface GroupOptions {
  service: string;
  topics: readonly Topic[];
  namespace: string;
  kafka: Kafka;
  delivery: Delivery;
  outage: Outage;
  logger: { error(...args: unknown[]): void };
}

export class KafkaGroup {
  readonly #options: GroupOptions;
  /** By the name that Kafka knows. */
  readonly #topics: ReadonlyMap<string, Topic>;
  /** When the last event of each topic that was taken here had happened. */
  readonly #takenAt = new Map<Topic, number>();
  #membership: Membership | undefined;
  #isStopping = false;

  constructor(options: GroupOptions) {
    this.#options = options;
    this.#topics = new Map(options.topics.map((topic) => [topicName(options.namespace, topic), topic]));
  }

  get #group(): string {
    return `${this.#options.namespace}.${this.#options.service}`;
  }

  /** Joins the group unless it is in it. */
  async tick(): Promise<boolean> {
    const { kafka, namespace, outage, topics } = this.#options;
    if (this.#membership?.isAlive || this.#isStopping) return false;
    const membership = await outage.patiently(async () => {
      const names = [...this.#topics.keys()];
      await kafka.declare([...names, ...topics.map((topic) => deadLetterTopicName(namespace, topic))]);
      return kafka.join({
        group: this.#group,
        topics: names,
        deliver: (messages, pause) => this.#deliver(messages, pause),
      });
    });
    this.#membership = membership;
    if (this.#isStopping) await membership?.leave();
    return false;
  }

  /** The age is that of the last event taken, so at most that of the oldest not taken and a bit. */
  async lag(): Promise<{ topic: Topic; events: number; seconds: number | null }[]> {
    const behind = await this.#options.kafka.lag(this.#group, [...this.#topics.keys()]);
    return [...this.#topics].map(([name, topic]) => {
      const events = behind.get(name) ?? 0;
      const takenAt = this.#takenAt.get(topic);
      const seconds = takenAt === undefined ? null : Math.max(0, (Date.now() - takenAt) / 1_000);
      return { topic, events, seconds: events === 0 ? 0 : seconds };
    });
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#membership?.leave();
    await this.#options.kafka.close();
  }

  async #deliver(messages: IncomingMessage[], pause: (ms: number) => Promise<void>): Promise<number> {
    const { delivery, logger } = this.#options;
    const arrivals = messages.map(
      ({ topic, partition, offset, value }): Arrival => ({
        topic: this.#topics.get(topic) as Topic,
        partition,
        position: offset,
        body: value,
        event: eventOf(value),
      }),
    );
    let taken: number;
    try {
      taken = await delivery.deliver(arrivals, { pause, buried: (letter) => this.#publish(letter) });
    } catch (err) {
      if (err instanceof NoLongerOurs) throw err;
      if (err instanceof Stopping) throw new NoLongerOurs("the service stops");
      logger.error("events cannot be taken, they are tried again:", err);
      throw err;
    }
    const last = arrivals[taken - 1];
    if (last?.event) this.#takenAt.set(last.topic, Date.parse(last.event.time));
    return taken;
  }

  /** The consumer's database has every letter whole, so what Kafka will never take holds up nobody. */
  async #publish(letter: DeadLetter): Promise<void> {
    const { kafka, logger, namespace } = this.#options;
    const name = deadLetterTopicName(namespace, letter.topic);
    let refusal: MessageRefused | undefined;
    for (const size of SIZES) {
      try {
        return await kafka.publish(name, [this.#messageOf(letter, size)]);
      } catch (err) {
        if (!(err instanceof MessageRefused)) throw err;
        refusal = err;
      }
    }
    logger.error(`${name} takes the dead letter ${letter.id} in no size; the database has it:`, refusal);
  }

  #messageOf(letter: DeadLetter, { bodyChars, headerChars }: (typeof SIZES)[number]): OutgoingMessage {
    const { id, topic, partition, position, body, error, stack, attempts } = letter;
    const { namespace, service } = this.#options;
    const value = body.slice(0, bodyChars);
    return {
      key: eventOf(body)?.key.slice(0, headerChars) ?? null,
      value,
      headers: {
        "dead-letter-id": id,
        error: error.slice(0, headerChars),
        stack: (stack ?? "").slice(0, headerChars),
        attempts: String(attempts),
        group: `${namespace}.${service}`,
        topic: topicName(namespace, topic),
        partition: String(partition),
        offset: String(position),
        time: new Date().toISOString(),
        ...(value.length < body.length && { "body-cut-from-bytes": String(Buffer.byteLength(body)) }),
      },
    };
  }
}
