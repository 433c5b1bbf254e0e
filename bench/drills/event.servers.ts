/**
 * The Kafka and the mail server of one drill. Each can be killed and brought back where it was, with what it had; both
 * end with the site.
 */
import { mkdir } from "node:fs/promises";
import { type Admin, type EachMessagePayload, Kafka, logLevel } from "kafkajs";
import { type Topic, topicName } from "../../mixins/events/topics.ts";
import { startKafka } from "../../scripts/servers/kafka.ts";
import type { Place, Server } from "../../scripts/servers/server.ts";
import { type MailServer, startSmtp } from "../../scripts/servers/smtp.ts";
import type { Site } from "./site.ts";

export class Revivable<S extends Server> {
  #server: S;
  readonly #start: (place: Place) => Promise<S>;

  private constructor(server: S, start: (place: Place) => Promise<S>) {
    this.#server = server;
    this.#start = start;
  }

  static async open<S extends Server>(
    site: Site,
    name: string,
    start: (place: Place) => Promise<S>,
  ): Promise<Revivable<S>> {
    const directory = site.path(name);
    await mkdir(directory);
    const revivable = new Revivable(await start({ directory }), (place) => start({ ...place, directory }));
    site.onClose(() => revivable.server.stop());
    if (revivable.server.pid === undefined)
      throw new Error(`a drill kills its ${name}, so it needs one of its own: unset KAFKA_BROKERS`);
    return revivable;
  }

  get server(): S {
    return this.#server;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    process.kill(this.#server.pid as number, "SIGKILL");
    await this.#server.stop();
  }

  /** Resolves when it answers again. */
  async revive(): Promise<void> {
    this.#server = await this.#start({ port: this.#server.port });
  }
}

/** An event as Kafka has it. */
export interface Delivered {
  topic: string;
  partition: number;
  key: string;
  value: string;
  headers: Record<string, string>;
  /** When it was there, by Kafka's clock. */
  atMs: number;
}

export class EventServers {
  readonly kafka: Revivable<Server>;
  readonly smtp: Revivable<MailServer>;
  readonly namespace = "shop";

  private constructor(kafka: Revivable<Server>, smtp: Revivable<MailServer>) {
    this.kafka = kafka;
    this.smtp = smtp;
  }

  /** `answerMs`: how long the mail server has a mail before it says so. */
  static async open(site: Site, { answerMs = 0 } = {}): Promise<EventServers> {
    const log = (line: string) => site.say(line);
    const [kafka, smtp] = await Promise.all([
      Revivable.open(site, "kafka", (place) => startKafka({ ...place, log })),
      Revivable.open(site, "smtp", (place) => startSmtp({ ...place, answerMs })),
    ]);
    site.say(`Kafka at ${kafka.server.url}, mail server at ${smtp.server.url}`);
    return new EventServers(kafka, smtp);
  }

  /** For the shop. */
  get env(): Record<string, string> {
    return {
      NAMESPACE: this.namespace,
      KAFKA_BROKERS: this.kafka.server.url,
      SMTP_URL: this.smtp.server.url,
      // Several, so that order within a key is not order by accident.
      KAFKA_PARTITIONS: "3",
    };
  }

  client(): Kafka {
    return new Kafka({
      clientId: "drill",
      brokers: [this.kafka.server.url],
      logLevel: logLevel.NOTHING,
      retry: { retries: 20 },
    });
  }

  async withAdmin<Result>(work: (admin: Admin) => Promise<Result>): Promise<Result> {
    const admin = this.client().admin();
    await admin.connect();
    try {
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }

  /** Names of all topics of events, or of all dead letters'. */
  topics(admin: Admin, { dead }: { dead: boolean }): Promise<string[]> {
    return admin
      .listTopics()
      .then((names) =>
        names.filter((name) => name.startsWith(`${this.namespace}.`) && name.endsWith(".dlq") === dead),
      );
  }

  /** What the group of `service` has not taken of these, by Kafka's own account: all of a topic where it has not begun. */
  lagOf(service: string, topics: readonly Topic[]): Promise<number> {
    return this.withAdmin(async (admin) => {
      const names = topics.map((topic) => topicName(this.namespace, topic));
      let lag = 0;
      for (const { topic, partitions } of await admin.fetchOffsets({
        groupId: `${this.namespace}.${service}`,
        topics: names,
      })) {
        const taken = new Map(partitions.map(({ partition, offset }) => [partition, Number(offset)]));
        for (const { partition, high, low } of await admin.fetchTopicOffsets(topic))
          lag += Number(high) - Math.max(taken.get(partition) ?? 0, Number(low));
      }
      return lag;
    });
  }

  /** Everything of these topics, each partition in its order. */
  async read(topics: readonly string[]): Promise<Delivered[]> {
    const ends = await this.withAdmin(async (admin) => {
      const offsets = await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)));
      return offsets.flatMap((partitions, i) =>
        partitions.map(({ partition, high }) => ({ place: `${topics[i]} ${partition}`, end: Number(high) })),
      );
    });
    const missing = new Map(ends.filter(({ end }) => end > 0).map(({ place, end }) => [place, end]));
    const delivered: Delivered[] = [];
    if (missing.size === 0) return delivered;
    const consumer = this.client().consumer({ groupId: `drill-${Date.now()}`, maxWaitTimeInMs: 100 });
    await consumer.connect();
    try {
      await consumer.subscribe({ topics: [...topics], fromBeginning: true });
      await new Promise<void>((resolve, reject) => {
        const take = async ({ topic, partition, message }: EachMessagePayload) => {
          const { key, value, headers = {} } = message;
          delivered.push({
            ...{ topic, partition, key: String(key), value: String(value) },
            headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, String(text)])),
            atMs: Number(message.timestamp),
          });
          const place = `${topic} ${partition}`;
          if (Number(message.offset) + 1 >= (missing.get(place) ?? 0)) missing.delete(place);
          if (missing.size === 0) resolve();
        };
        consumer.run({ eachMessage: take }).catch(reject);
      });
    } finally {
      await consumer.disconnect();
    }
    return delivered;
  }
}
