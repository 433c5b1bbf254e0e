/** A plain client of the tests' Kafka, which says nothing of the retries that are part of a start. */
import { Kafka, logLevel, Partitioners } from "kafkajs";

export const createClient = (brokers: string): Kafka =>
  new Kafka({ clientId: "test", brokers: brokers.split(","), logLevel: logLevel.NOTHING });

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
