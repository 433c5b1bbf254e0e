/** Consumers of events over a real Kafka, and what others see in its topics. */
import { expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { sharedKafka } from "../../harness/kafka.ts";
import { createClient, messagesOf, partitionOf, settingsOf } from "../../support/kafka.ts";
import { until } from "../../support/until.ts";
import { Chain } from "./chain.ts";
import { consumerTests } from "./consumer.cases.ts";

const { brokers, namespace, describe } = await sharedKafka();

describe("a shop with Kafka", () => {
  consumerTests("with Kafka", async () => ({
    env: { KAFKA_BROKERS: brokers, NAMESPACE: namespace, KAFKA_PARTITIONS: "2" },
    stop: async () => undefined,
  }));

  test("its topics hold events by key, and dead letters with what is to be known of them", async () => {
    const env = {
      KAFKA_BROKERS: brokers,
      NAMESPACE: `${namespace}-topics`,
      KAFKA_PARTITIONS: "5",
      KAFKA_RETENTION_DAYS: "3",
    };
    const chain = await Chain.open(env);
    try {
      await chain.start({ teller: true, consumer: true });
      const key = newId();
      const [, strange] = await Promise.all([chain.tell(key, [1]), chain.tell(key, [2], { version: 2 })]);
      const client = createClient(brokers);
      const [told, ...others] = await messagesOf(client, `${env.NAMESPACE}.orders.v1`, 2);
      const messages = [told, ...others].sort(
        (one, other) => Number(one?.headers.version) - Number(other?.headers.version),
      );
      expect(messages.map((message) => [message?.key, message?.headers])).toEqual(
        [1, 2].map((version) => [
          key,
          { id: expect.any(String), type: "order.told", version: String(version) },
        ]),
      );
      expect(new Set(messages.map((message) => message?.partition)).size).toBe(1);

      const [letter] = await messagesOf(client, `${env.NAMESPACE}.orders.v1.dlq`, 1);
      expect(letter?.key).toBe(key);
      expect(letter?.value).toBe(messages[1]?.value);
      expect(JSON.parse(letter?.value as string)).toMatchObject({ id: strange[0], version: 2 });
      expect(letter?.headers).toEqual({
        "dead-letter-id": (await chain.inConsumer<{ id: string }>("select id from dead_letters"))[0]?.id,
        error: "version 2 of order.told is not known here",
        stack: expect.stringContaining("Error: version 2"),
        attempts: "0",
        group: `${env.NAMESPACE}.listener`,
        topic: `${env.NAMESPACE}.orders.v1`,
        partition: String(messages[1]?.partition),
        offset: expect.stringMatching(/^[01]$/),
        time: expect.stringMatching(/^2\d{3}-/),
      });
      const admin = client.admin();
      await admin.connect();
      const { topics } = await admin.fetchTopicMetadata({
        topics: [`${env.NAMESPACE}.orders.v1`, `${env.NAMESPACE}.orders.v1.dlq`],
      });
      await admin.disconnect();
      expect(topics.map(({ partitions }) => partitions.length)).toEqual([5, 5]);
      const dayMs = 86_400_000;
      for (const [name, days] of [
        [`${env.NAMESPACE}.orders.v1`, 3],
        [`${env.NAMESPACE}.orders.v1.dlq`, 12],
      ] as const)
        expect(await settingsOf(client, name)).toMatchObject({
          "cleanup.policy": "delete",
          "retention.ms": String(days * dayMs),
          "segment.ms": String((days * dayMs) / 4),
          "min.insync.replicas": "1",
          "max.message.bytes": "4000000",
        });
    } finally {
      await chain.close();
    }
  }, 60_000);

  test("a message that is no event is a dead letter too", async () => {
    const env = { KAFKA_BROKERS: brokers, NAMESPACE: `${namespace}-foreign`, KAFKA_PARTITIONS: "1" };
    const chain = await Chain.open(env);
    try {
      await chain.start({ teller: true, consumer: true });
      const key = newId();
      await chain.tell(key, [1]);
      await chain.arrived(key, [1]);
      const producer = createClient(brokers).producer();
      await producer.connect();
      await producer.send({
        topic: `${env.NAMESPACE}.orders.v1`,
        messages: [{ value: "hello" }, { value: null }],
      });
      await producer.disconnect();
      await chain.tell(key, [2]);
      await chain.arrived(key, [1, 2]);
      expect(await chain.inConsumer("select body, attempts from dead_letters order by position")).toEqual([
        { body: "hello", attempts: 0 },
        { body: "", attempts: 0 },
      ]);
    } finally {
      await chain.close();
    }
  }, 60_000);

  test("an event that hangs holds up neither other partitions nor other topics, and its consumer stays in the group", async () => {
    const env = { KAFKA_BROKERS: brokers, NAMESPACE: `${namespace}-aside`, KAFKA_PARTITIONS: "2" };
    const chain = await Chain.open(env);
    try {
      const [bad, good] = [newId(), newId()];
      let other = newId();
      while (partitionOf(other, 2) === partitionOf(bad, 2)) other = newId();
      let tries = 0;
      chain.onEvents = async (_, events) => {
        if (!events.some(({ key, payload }) => key === bad && payload.n === 1)) return;
        tries++;
        await new Promise(() => undefined);
      };
      await chain.start({ teller: true, consumer: true, kinds: ["order.told.v1", "user.told.v1"] });
      await chain.tell(bad, [1, 2]);
      await until("it is tried alone", () => tries > 1, 20_000);
      await chain.tell(other, [1]);
      const producer = createClient(brokers).producer();
      await producer.connect();
      const event = { id: newId(), type: "user.told", version: 1, key: good, payload: { n: 1 } };
      await producer.send({
        topic: `${env.NAMESPACE}.users.v1`,
        messages: [{ key: good, value: JSON.stringify({ ...event, time: new Date() }) }],
      });
      await producer.disconnect();
      await chain.arrived(other, [1], 4_000);
      await chain.arrived(good, [1], 4_000);
      expect(await chain.inConsumer("select from dead_letters")).toEqual([]);
      await chain.arrived(bad, [2], 30_000);
      // Together with its successor, and five times alone: a member that had left would have begun again.
      expect(tries).toBe(6);
    } finally {
      await chain.close();
    }
  }, 90_000);

  test("a dead letter that Kafka does not take whole is cut there, and whole in the database", async () => {
    const env = { KAFKA_BROKERS: brokers, NAMESPACE: `${namespace}-large`, KAFKA_PARTITIONS: "1" };
    const topic = `${env.NAMESPACE}.orders.v1.dlq`;
    const client = createClient(brokers);
    const admin = client.admin();
    await admin.connect();
    const configEntries = [{ name: "max.message.bytes", value: "500000" }];
    await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] });
    await admin.disconnect();
    const chain = await Chain.open(env);
    try {
      await chain.start({ teller: true, consumer: true });
      const key = newId();
      await chain.inTeller(
        `insert into outbox (type, version, key, payload)
         values ('order.told', 2, $1, jsonb_build_object('text', repeat('x', 600000)))`,
        [key],
      );
      await chain.tell(key, [1]);
      await chain.arrived(key, [1], 30_000);
      const [row] = await chain.inConsumer<{ body: string }>("select body from dead_letters");
      expect(JSON.parse(row?.body as string).payload.text).toHaveLength(600_000);
      const [letter] = await messagesOf(client, topic, 1);
      expect(letter?.key).toBe(key);
      expect(letter?.value).toBe(row?.body.slice(0, 100_000));
      expect(letter?.headers).toMatchObject({
        error: "version 2 of order.told is not known here",
        "body-cut-from-bytes": String(Buffer.byteLength(row?.body as string)),
      });
    } finally {
      await chain.close();
    }
  }, 60_000);
});
