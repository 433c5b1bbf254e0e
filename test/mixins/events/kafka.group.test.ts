/** Members of a Kafka group that come and go while they have events in hand, and dead letters that Kafka refuses. */
import { expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { sharedKafka } from "../../harness/kafka.ts";
import { createClient, messagesOf } from "../../support/kafka.ts";
import { until } from "../../support/until.ts";
import { Chain } from "./chain.ts";

const { brokers, namespace, describe } = await sharedKafka();

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

describe("a consumer's group", () => {
  test("changes while events are tried again: each has one effect, those of a key in order, and one dead letter", async () => {
    const env = { KAFKA_BROKERS: brokers, NAMESPACE: `${namespace}-change`, KAFKA_PARTITIONS: "4" };
    const chain = await Chain.open(env);
    try {
      await chain.inConsumer("alter table notifications alter received_at set default clock_timestamp()");
      const keys = Array.from({ length: 12 }, newId);
      const bad = keys.slice(0, 4);
      let tries = 0;
      chain.onEvents = async (tx, events) => {
        const mine = events.filter(({ key }) => bad.includes(key));
        if (mine.some(({ payload }) => payload.n === 3)) {
          tries++;
          throw new Error("poison");
        }
        // So that some is always in hand while the group changes.
        if (mine.some(({ payload }) => payload.n === 5)) await tx.query({ text: "select pg_sleep(0.4)" });
      };
      await chain.start({ teller: true });
      const first = await chain.start({ consumer: true });
      const tell = (from: number, to: number) =>
        Promise.all(keys.map((key) => chain.tell(key, upTo(to).slice(from))));
      await tell(0, 10);
      await until("one is tried alone", () => tries > 1, 20_000);
      await chain.start({ consumer: true });
      await tell(10, 20);
      const third = await chain.start({ consumer: true });
      await tell(20, 30);
      await chain.stop(first);
      await tell(30, 40);
      await chain.stop(third);
      for (const key of keys) await chain.arrived(key, bad.includes(key) ? upTo(39) : upTo(40), 60_000);
      for (const key of keys)
        expect(await chain.taken(key)).toEqual(upTo(40).filter((n) => n !== 3 || !bad.includes(key)));
      const letters = await chain.inConsumer<{ attempts: number }>("select attempts from dead_letters");
      expect(letters).toEqual(bad.map(() => ({ attempts: 5 })));
    } finally {
      await chain.close();
    }
  }, 150_000);

  test.each([
    ["takes them without their bodies", "1000", 1],
    ["takes none at all", "150", 0],
  ])(
    "goes on where the topic of dead letters %s",
    async (_, bytes, count) => {
      const env = { KAFKA_BROKERS: brokers, NAMESPACE: `${namespace}-${bytes}`, KAFKA_PARTITIONS: "1" };
      const topic = `${env.NAMESPACE}.orders.v1.dlq`;
      const client = createClient(brokers);
      const admin = client.admin();
      await admin.connect();
      const configEntries = [{ name: "max.message.bytes", value: bytes }];
      await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] });
      await admin.disconnect();
      const chain = await Chain.open(env);
      try {
        await chain.start({ teller: true, consumer: true });
        const key = newId();
        const [id] = await chain.tell(key, [1], { version: 2 });
        await chain.tell(key, [2]);
        await chain.arrived(key, [2], 30_000);
        const [row] = await chain.inConsumer<{ id: string; body: string }>(
          "select id, body from dead_letters",
        );
        expect(JSON.parse(row?.body as string).id).toBe(id);
        const [letter] = count > 0 ? await messagesOf(client, topic, 1) : [];
        if (letter)
          expect(letter).toMatchObject({
            key,
            value: "",
            headers: { "dead-letter-id": row?.id, attempts: "0" },
          });
        else expect(chain.logged.join()).toContain(`takes the dead letter ${row?.id} in no size`);
      } finally {
        await chain.close();
      }
    },
    60_000,
  );
});
