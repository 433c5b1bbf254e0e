/**
 * Kafka, by kafkajs, and the only file that knows it: declares topics, publishes (idempotent producer, all replicas
 * acknowledge), consumes as a member of a group, and tells how far a group is behind. Nothing here tries for long:
 * whoever uses it tries again, and hears by an error that it must. A producer that has failed is replaced by a new one.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Admin,
  Kafka as Client,
  type ConfigResourceTypes,
  type Consumer,
  type EachBatchPayload,
  logLevel,
  Partitioners,
  type Producer,
} from "kafkajs";
import RequestQueue from "kafkajs/src/network/requestQueue/index.js";
import { MessageRefused } from "./kafka.errors.ts";
import { type Deliver, type Fetched, Hand } from "./kafka.hand.ts";
import { SentOffsets } from "./sent.offsets.ts";
import { topicSettings } from "./topics.ts";

export type { IncomingMessage } from "./kafka.hand.ts";

/** A broker that is there answers within a fraction of this. */
const CONNECT_MS_MAX = 2_000;
const REQUEST_MS_MAX = 4_000;
/** For what is over in a moment, such as a topic that was made just now; the rest is the caller's. */
const RETRY = { retries: 5, initialRetryTime: 100, maxRetryTime: 500 } as const;
/** A member outlives a broker's restart: a new one would have to wait until Kafka has given up the old. */
const MEMBER_RETRY = { retries: 8, initialRetryTime: 200, maxRetryTime: 2_000 } as const;
/** A member that says nothing for so long is dead. */
const SESSION_MS = 10_000;
const HEARTBEAT_MS = 1_000;
/** What a fetch waits for news; a stop waits for it. */
const FETCH_MS_MAX = 500;
/** Partitions that are worked on at once: each takes a connection of the consumer's pool. */
const PARTITIONS_AT_ONCE = 3;
/** A closing that Kafka does not answer ends by itself. */
const CLOSE_MS_MAX = 3_000;
/** Of one request; it makes one batch of each partition, which must stay below the limit of a message. */
const REQUEST_BYTES_MAX = 1_000_000;
/** Kafka's number for a topic among what has settings; the library's name for it is no export that Node finds. */
const TOPIC_RESOURCE: ConfigResourceTypes.TOPIC = 2;

// The library plans its look at requests that wait also where none does, in the past: each connection then looks a
// thousand times a second, and Node warns of the first. It looks when there is something to see; requests are sent, and
// begin to wait, without it.
const { scheduleCheckPendingRequests } = RequestQueue.prototype;
RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
  if (this.pending.length > 0) scheduleCheckPendingRequests.call(this);
};

export interface KafkaOptions {
  brokers: readonly string[];
  clientId: string;
  partitions: number;
  replication: number;
  retentionDays: number;
  /** What the library says, for whoever wants to know it all. */
  log: (text: string) => void;
}

export interface OutgoingMessage {
  key: string | null;
  value: string;
  headers: Record<string, string>;
}

export interface Subscription {
  group: string;
  topics: readonly string[];
  deliver: Deliver;
}

export interface Membership {
  /** False once it has ended by itself. */
  readonly isAlive: boolean;
  leave(): Promise<void>;
}

/** About messages, which others may be well without; every other error is about Kafka, or the way to it. */
const REFUSALS: ReadonlySet<unknown> = new Set([
  "MESSAGE_TOO_LARGE",
  "RECORD_LIST_TOO_LARGE",
  "INVALID_RECORD",
]);

export class Kafka {
  readonly #options: KafkaOptions;
  readonly #client: Client;
  #producer: Promise<Producer> | undefined;
  #admin: Promise<Admin> | undefined;
  readonly #declared = new Set<string>();
  readonly #sent = new SentOffsets();
  #isClosed = false;
  readonly #closed = Promise.withResolvers<never>();
  #publishing: Promise<void> = Promise.resolve();

  constructor(options: KafkaOptions) {
    this.#options = options;
    this.#closed.promise.catch(() => undefined);
    this.#client = new Client({
      clientId: options.clientId,
      brokers: [...options.brokers],
      connectionTimeout: CONNECT_MS_MAX,
      requestTimeout: REQUEST_MS_MAX,
      retry: RETRY,
      logLevel: logLevel.WARN,
      logCreator:
        () =>
        ({ namespace, log }) =>
          options.log(`${namespace}: ${log.message}`),
    });
  }

  /** Makes topics that are not there. Looks again after a failure, for Kafka may have come back without them. */
  async declare(topics: readonly string[]): Promise<void> {
    if (topics.every((topic) => this.#declared.has(topic))) return;
    await this.#administer((admin) => this.#declare(admin, topics));
    for (const topic of topics) this.#declared.add(topic);
  }

  async #declare(admin: Admin, topics: readonly string[]): Promise<void> {
    const there = new Set(await admin.listTopics());
    const missing = topics.filter((topic) => !there.has(topic));
    const { partitions, replication } = this.#options;
    if (missing.length > 0)
      // Answers false where another node has made them meanwhile.
      await admin.createTopics({
        waitForLeaders: true,
        topics: missing.map((topic) => ({
          topic,
          numPartitions: partitions,
          replicationFactor: replication,
          configEntries: Object.entries(topicSettings(topic, this.#options)).map(([name, value]) => ({
            name,
            value: String(value),
          })),
        })),
      });
  }

  /** Whether a topic has never had a message. Throws where there is none, and then it is not thought to be declared. */
  async isEmpty(topic: string): Promise<boolean> {
    const partitions = await this.#administer((admin) => admin.fetchTopicOffsets(topic));
    const isEmpty = partitions.every(({ high }) => Number(high) === 0);
    if (isEmpty) this.#sent.forget(topic);
    return isEmpty;
  }

  /** The largest message that a topic takes, whoever declared it. */
  async messageBytesMax(topic: string): Promise<number> {
    const resource = { type: TOPIC_RESOURCE, name: topic, configNames: ["max.message.bytes"] };
    const query = { includeSynonyms: false, resources: [resource] };
    const { resources } = await this.#administer((admin) => admin.describeConfigs(query));
    return Number(resources[0]?.configEntries[0]?.configValue);
  }

  /**
   * Resolves when all replicas have them; those of one key stay in order. One call after the other: the library gives the
   * numbers of what has failed to whatever is sent next, and Kafka would take that for a repeat where the failed had
   * arrived.
   */
  publish(topic: string, messages: readonly OutgoingMessage[]): Promise<void> {
    this.#publishing = this.#publishing.catch(() => undefined).then(() => this.#publish(topic, messages));
    return this.#publishing;
  }

  async #publish(topic: string, messages: readonly OutgoingMessage[]): Promise<void> {
    await this.declare([topic]);
    this.#producer ??= this.#connectProducer();
    const current = this.#producer;
    try {
      const producer = await this.#untilClosed(current);
      for (const part of partsOf(messages))
        this.#sent.follow(topic, await this.#untilClosed(producer.send({ topic, acks: -1, messages: part })));
    } catch (err) {
      if (this.#producer === current) this.#producer = undefined;
      void current.then((producer) => inTime(producer.disconnect())).catch(() => undefined);
      if (isRefusal(err)) throw new MessageRefused((err as Error).message, { cause: err });
      this.#declared.clear();
      throw err;
    }
  }

  /** Joins a group. Resolves when its messages begin to come. */
  async join({ group, topics, deliver }: Subscription): Promise<Membership> {
    this.#expectOpen();
    // Whoever joins again declares again: Kafka may have come back without the topics.
    this.#declared.clear();
    const consumer = this.#client.consumer({
      groupId: group,
      sessionTimeout: SESSION_MS,
      heartbeatInterval: HEARTBEAT_MS,
      rebalanceTimeout: SESSION_MS,
      maxWaitTimeInMs: FETCH_MS_MAX,
      allowAutoTopicCreation: false,
      retry: { ...MEMBER_RETRY, restartOnFailure: async () => false },
    });
    const hand = new Hand({ deliver, onFailure: () => void membership.leave() });
    const membership = {
      isAlive: true,
      async leave() {
        membership.isAlive = false;
        await inTime(hand.letGo());
        await inTime(consumer.disconnect());
        // A start that is under way goes on all the same, opens again what is closed, and would stay in the group.
        void starting.catch(() => undefined).then(() => inTime(consumer.disconnect()));
      },
    };
    const starting = start(consumer, { topics, hand, membership });
    try {
      await this.#untilClosed(starting);
      return membership;
    } catch (err) {
      await membership.leave();
      throw err;
    }
  }

  /** How many messages of each topic a group has not taken. */
  lag(group: string, topics: readonly string[]): Promise<Map<string, number>> {
    return this.#administer(async (admin) => {
      const taken = await admin.fetchOffsets({ groupId: group, topics: [...topics] });
      const lags = taken.map(async ({ topic, partitions }) => {
        const offsets = new Map(partitions.map(({ partition, offset }) => [partition, Number(offset)]));
        const behind = (await admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => {
          const offset = offsets.get(partition) ?? -1;
          return Number(high) - Math.max(offset, Number(low));
        });
        return [topic, behind.reduce((sum, n) => sum + n, 0)] as const;
      });
      return new Map(await Promise.all(lags));
    });
  }

  /** What is under way fails at once; what Kafka makes of it, its repeat will show. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closed.reject(new Error("it is closed"));
    const producer = this.#producer;
    const admin = this.#admin;
    this.#producer = undefined;
    this.#admin = undefined;
    await Promise.all(
      [producer, admin].map((client) => inTime(client?.then((connected) => connected.disconnect()))),
    );
  }

  /** What is opened after the close nobody would close. */
  #expectOpen(): void {
    if (this.#isClosed) throw new Error("it is closed");
  }

  /** The library would go on trying for as long as its retries take. */
  #untilClosed<Result>(work: Promise<Result>): Promise<Result> {
    return Promise.race([work, this.#closed.promise]);
  }

  async #connectProducer(): Promise<Producer> {
    this.#expectOpen();
    const producer = this.#client.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
    });
    await connecting(producer);
    return producer;
  }

  /** One that has failed is replaced by a new one. */
  async #administer<Result>(work: (admin: Admin) => Promise<Result>): Promise<Result> {
    this.#expectOpen();
    if (!this.#admin) {
      const admin = this.#client.admin();
      this.#admin = connecting(admin).then(() => admin);
    }
    const current = this.#admin;
    try {
      return await this.#untilClosed(current.then(work));
    } catch (err) {
      if (this.#admin === current) this.#admin = undefined;
      this.#declared.clear();
      void current.then((connected) => inTime(connected.disconnect())).catch(() => undefined);
      throw err;
    }
  }
}

/** The library wraps what the broker said. */
function isRefusal(err: unknown): boolean {
  const { type, cause } = (err ?? {}) as { type?: unknown; cause?: unknown };
  return REFUSALS.has(type) || (cause !== undefined && isRefusal(cause));
}

async function connecting(client: { connect(): Promise<void>; disconnect(): Promise<void> }): Promise<void> {
  try {
    await client.connect();
  } catch (err) {
    await inTime(client.disconnect());
    throw err;
  }
}

/** Ends by itself, and is never an error: there is nothing left to do about a connection that does not close. */
async function inTime(work: Promise<unknown> | undefined): Promise<void> {
  const over = new AbortController();
  await Promise.race([
    Promise.resolve(work).catch(() => undefined),
    sleep(CLOSE_MS_MAX, undefined, { signal: over.signal }).catch(() => undefined),
  ]);
  over.abort();
}

function* partsOf(messages: readonly OutgoingMessage[]): Generator<OutgoingMessage[]> {
  let part: OutgoingMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    const size = Buffer.byteLength(message.value);
    if (part.length > 0 && bytes + size > REQUEST_BYTES_MAX) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(message);
    bytes += size;
  }
  if (part.length > 0) yield part;
}

interface Joining {
  topics: readonly string[];
  hand: Hand;
  membership: { isAlive: boolean };
}

/** Resolves when the first messages may come. */
async function start(consumer: Consumer, { topics, hand, membership }: Joining): Promise<void> {
  const joined = Promise.withResolvers<void>();
  joined.promise.catch(() => undefined);
  consumer.on(consumer.events.REBALANCING, () => void hand.letGo());
  consumer.on(consumer.events.GROUP_JOIN, () => {
    void hand.letGo();
    joined.resolve();
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    membership.isAlive = false;
    void hand.letGo();
    joined.reject(payload.error);
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [...topics], fromBeginning: true });
  const running = consumer.run({
    eachBatchAutoResolve: false,
    partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
    eachBatch: (payload) => hand.take(fetchedOf(payload, membership)),
  });
  await Promise.all([running, joined.promise]);
}

const fetchedOf = (payload: EachBatchPayload, membership: { isAlive: boolean }): Fetched => ({
  batch: payload.batch,
  resolveOffset: payload.resolveOffset,
  commit: () => payload.commitOffsetsIfNecessary(payload.uncommittedOffsets()),
  park: () => payload.pause(),
  isRunning: () => membership.isAlive && payload.isRunning(),
});
