/** A plain client of the tests' Kafka, which says nothing of the retries that are part of a start. */
import { type Admin, ConfigResourceTypes, Kafka, logLevel, Partitioners } from "kafkajs";
import { until } from "./until.ts";

export const createClient = (brokers: string): Kafka =>
  new Kafka({ clientId: "test", brokers: brokers.split(","), logLevel: logLevel.NOTHING });

export async function withAdmin<Result>(
  kafka: Kafka,
  work: (admin: Admin) => Promise<Result>,
): Promise<Result> {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}

/** What holds for a topic, its own settings and the broker's. */
export const settingsOf = (kafka: Kafka, topic: string): Promise<Record<string, string>> =>
  withAdmin(kafka, async (admin) => {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    });
    return Object.fromEntries(
      (resources[0]?.configEntries ?? []).map(({ configName, configValue }) => [configName, configValue]),
    );
  });

/** Where a message of this key goes, in a topic of so many partitions. */
export const partitionOf = (key: string, partitions: number): number =>
  Partitioners.DefaultPartitioner()({
    topic: "any",
    partitionMetadata: Array.from({ length: partitions }, (_, partitionId) => ({
      ...{ partitionErrorCode: 0, partitionId, leader: 0 },
      ...{ replicas: [], isr: [] },
    })),
    message: { key, value: null },
  });

/** Declares the topic where it is not there, and adds these in order. */
export async function produce(kafka: Kafka, topic: string, values: string[]): Promise<void> {
  const admin = kafka.admin();
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await Promise.all([admin.connect(), producer.connect()]);
  try {
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }] });
    await producer.send({ topic, acks: -1, messages: values.map((value) => ({ key: "k", value })) });
  } finally {
    await Promise.all([admin.disconnect(), producer.disconnect()]);
  }
}

/** The first `count` of the topic, by a group of their own. */
export async function consume(kafka: Kafka, topic: string, count: number): Promise<string[]> {
  const consumer = kafka.consumer({ groupId: `${topic}-${Math.random()}`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    return await new Promise((resolve, reject) => {
      const values: string[] = [];
      consumer
        .run({
          eachMessage: async ({ message }) => {
            values.push(String(message.value));
            if (values.length === count) resolve(values);
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
}

export interface Message {
  partition: number;
  key: string | null;
  value: string | null;
  headers: Record<string, string>;
}

/** The same with all that a message holds. The topic may be made a moment later. */
export async function messagesOf(kafka: Kafka, topic: string, count: number): Promise<Message[]> {
  const admin = kafka.admin();
  await admin.connect();
  await until(`there is a topic ${topic}`, async () => (await admin.listTopics()).includes(topic));
  await admin.disconnect();
  const consumer = kafka.consumer({ groupId: `${topic}-${Math.random()}`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true });
    const messages: Message[] = [];
    await consumer.run({
      eachMessage: async ({ partition, message: { key, value, headers = {} } }) => {
        messages.push({
          partition,
          key: key?.toString() ?? null,
          value: value?.toString() ?? null,
          headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, String(text)])),
        });
      },
    });
    await until(`${count} messages of ${topic}`, () => messages.length >= count, 20_000);
    return messages;
  } finally {
    await consumer.disconnect();
  }
}
