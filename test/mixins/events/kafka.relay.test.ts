/** A relay in front of a real Kafka that refuses an event, has lost its topics, or hears a relay that was paused. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { ServiceBroker } from "moleculer";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { KafkaRelay } from "../../../mixins/events/kafka.relay.ts";
import { Kafka } from "../../../mixins/events/kafka.ts";
import { Outage } from "../../../mixins/events/outage.ts";
import { noteReader, outboxLagOf, pruneOutbox, publishNext } from "../../../mixins/events/outbox.rows.ts";
import { KAFKA, keepCursor, readCursor } from "../../../mixins/events/relay.rows.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { sharedKafka } from "../../harness/kafka.ts";
import { createClient, messagesOf, withAdmin } from "../../support/kafka.ts";
import { gate, until } from "../../support/until.ts";

const { brokers, namespace: family, describe } = await sharedKafka();
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

describe("a relay to Kafka", () => {
  let databases: TestDatabases;
  let db: Database;
  let namespace: string;
  let topic: string;
  const logged: string[] = [];
  const relays: KafkaRelay[] = [];
  const client = createClient(brokers);
  beforeAll(async () => {
    databases = await cloneDatabases(["order"]);
    db = openDatabase(databases.urlOf("order"), 6);
  });
  beforeEach(async () => {
    namespace = `${family}-${newId().slice(-8)}`;
    topic = `${namespace}.orders.v1`;
    logged.length = 0;
    await db.query({ text: "truncate outbox, outbox_readers, refused_events" });
    await db.query({ text: "update relay set held_until = '-infinity'" });
  });
  afterEach(async () => {
    for (const relay of relays.splice(0)) await relay.stop();
  });
  afterAll(async () => {
    await db?.close();
    await databases?.drop();
  });

  const logger = {
    info: (...args: unknown[]) => logged.push(args.join(" ")),
    warn: (...args: unknown[]) => logged.push(args.join(" ")),
    error: (...args: unknown[]) => logged.push(args.join(" ")),
  };
  const openKafka = (): Kafka =>
    new Kafka({
      ...{ brokers: brokers.split(","), clientId: newId(), partitions: 1, replication: 1, retentionDays: 1 },
      log: () => undefined,
    });
  const open = (kafka = openKafka()): KafkaRelay => {
    const broker = new ServiceBroker({ logger: false });
    const relay = new KafkaRelay({
      ...{ service: "order", topic: "orders" as const, namespace, nodeId: newId(), broker, db, kafka },
      ...{ outage: new Outage("Kafka", logger), logger },
    });
    relays.push(relay);
    return relay;
  };
  const tell = async (
    numbers: readonly number[],
    key: string = newId(),
    more: object = {},
  ): Promise<string> => {
    for (const n of numbers)
      await db.query({
        text: "insert into outbox (type, version, key, payload) values ('told', 1, $1, $2)",
        values: [key, { n, ...more }],
      });
    await publishNext(db, 10_000);
    return key;
  };
  /** Sends until everything is sent, or kept aside. */
  const drain = (relay: KafkaRelay): Promise<boolean> =>
    until(
      "all is sent",
      async () => {
        await relay.send();
        const [row] = (
          await db.query<{ last: number | null }>({ text: "select max(position) as last from outbox" })
        ).rows;
        return (await readCursor(db)) === row?.last;
      },
      20_000,
    );
  const sent = async (count: number): Promise<number[]> =>
    (await messagesOf(client, topic, count)).map(({ value }) => JSON.parse(value as string).payload.n);
  const refused = async () =>
    (
      await db.query<{ error: string; attempts: number; replay_at: Date | null }>({
        text: "select id, error, attempts, replay_at from refused_events",
      })
    ).rows;
  const setLimit = (bytes: number) =>
    withAdmin(client, (admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          { type: 2, name: topic, configEntries: [{ name: "max.message.bytes", value: String(bytes) }] },
        ],
      }),
    );

  test("keeps an event that is too large for Kafka, with what to do, while the others go on, in order", async () => {
    await withAdmin(client, (admin) =>
      admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic, numPartitions: 1, configEntries: [{ name: "max.message.bytes", value: "20000" }] }],
      }),
    );
    // Together they are too large as well, which is nobody's fault.
    const key = await tell(upTo(60), newId(), { text: "x".repeat(1_000) });
    await tell([61], key, { text: "x".repeat(30_000) });
    await tell([62, 63], key);
    const relay = open();
    await drain(relay);
    const numbers = [...new Set(await sent(62))];
    expect(numbers).toEqual([...upTo(60), 62, 63]);
    const [letter, ...others] = await refused();
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ attempts: 1, replay_at: null });
    expect(letter?.error).toMatch(
      new RegExp(
        `^told.v1 [0-9a-f-]{36}: ${topic} refuses its 30\\d{3} bytes \\(max.message.bytes there: 20000\\).*npm run events -- replay`,
      ),
    );
    expect(logged.join()).toContain(letter?.error);

    const again = () => db.query({ text: "update refused_events set replay_at = now()" });
    await again();
    await relay.replay();
    expect(await refused()).toEqual([expect.objectContaining({ attempts: 2, replay_at: null })]);
    await setLimit(100_000);
    await again();
    await until("it is sent", async () => {
      await relay.replay();
      return (await refused()).length === 0;
    });
    expect((await sent(numbers.length + 1)).at(-1)).toBe(61);
  }, 60_000);

  test("declares a topic again that somebody has deleted, and sends again what was in it", async () => {
    const relay = open();
    await tell(upTo(3));
    await drain(relay);
    expect(await sent(3)).toEqual(upTo(3));
    await withAdmin(client, (admin) => admin.deleteTopics({ topics: [topic] }));
    await tell([4]);
    await drain(relay);
    expect(await sent(4)).toEqual(upTo(4));
  }, 60_000);

  test("finds a topic that is gone while there is nothing to send, and sends again what was in it", async () => {
    const relay = open();
    await tell(upTo(3));
    await drain(relay);
    await withAdmin(client, (admin) => admin.deleteTopics({ topics: [topic] }));
    await relay.look();
    await until("it is there again", async () => {
      await relay.send();
      return (await withAdmin(client, (admin) => admin.listTopics())).includes(topic);
    });
    await drain(relay);
    expect(await sent(3)).toEqual(upTo(3));
    expect(logged.join()).toContain(`Kafka has lost what ${topic} held`);
  }, 60_000);

  test("says that there may be more after a full batch, so that it goes on without a pause", async () => {
    const relay = open();
    await tell([0]);
    await drain(relay);
    await db.query({
      text: `insert into outbox (type, version, key, payload)
             select 'told', 1, gen_random_uuid(), jsonb_build_object('n', n) from generate_series(1, 1001) as n`,
    });
    await publishNext(db, 10_000);
    expect(await relay.send()).toBe(true);
    expect(await relay.send()).toBe(false);
    expect(await sent(1_002)).toEqual([0, ...upTo(1_001)]);
  }, 60_000);

  test("has its cursor before Kafka can be reached: what is not sent is behind, and is not deleted", async () => {
    const kafka = openKafka();
    kafka.declare = () => Promise.reject(new Error("it is away"));
    const relay = open(kafka);
    await tell(upTo(3));
    await db.query({ text: "update outbox set created_at = now() - interval '8 days'" });
    await relay.send();
    expect(await readCursor(db)).toBe(0);
    const silent = () => db.query({ text: "update outbox_readers set asked_at = now() - interval '8 days'" });
    await silent();
    await relay.look();
    expect(await db.transaction((tx) => pruneOutbox(tx, 7))).toEqual({ more: false, ignored: [] });
    expect((await outboxLagOf(db, KAFKA)).events).toBe(3);
    // That ends once its relays are gone for good.
    await silent();
    expect(await db.transaction((tx) => pruneOutbox(tx, 7))).toEqual({ more: false, ignored: [KAFKA] });
    expect((await outboxLagOf(db, KAFKA)).events).toBe(0);
  });

  test("never puts the cursor forward because Kafka is empty", async () => {
    await tell(upTo(3));
    await keepCursor(db);
    await noteReader(db, "notification", 1_000_000);
    await drain(open());
    expect(await sent(3)).toEqual(upTo(3));
  }, 60_000);

  test("sends again, too, when somebody else has declared it meanwhile", async () => {
    const relay = open();
    await tell(upTo(3));
    await drain(relay);
    await withAdmin(client, async (admin) => {
      await admin.deleteTopics({ topics: [topic] });
      await until("it is gone", async () => !(await admin.listTopics()).includes(topic));
      await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] });
    });
    await tell([4]);
    // It begins with the fourth, and finds by its offset that the three before it are not there.
    await until(
      "all are there",
      async () => {
        await drain(relay);
        const [partition] = await withAdmin(client, (admin) => admin.fetchTopicOffsets(topic));
        return Number(partition?.high) >= 4;
      },
      20_000,
    );
    expect(new Set(await sent(4))).toEqual(new Set(upTo(4)));
  }, 60_000);

  test.each(["before it sends", "when it has sent"])(
    "may be paused %s, for longer than its lease: the cursor passes nothing, and does not go back",
    async (when) => {
      const kafka = openKafka();
      const publish = kafka.publish.bind(kafka);
      const [reached, paused] = [gate(), gate()];
      let isReached = false;
      kafka.publish = async (...args) => {
        if (when === "when it has sent") await publish(...args);
        reached.open();
        await paused.promise;
        if (when === "before it sends") await publish(...args);
      };
      const [late, other] = [open(kafka), open()];
      expect([await late.holdsLease(), await other.holdsLease()]).toEqual([true, false]);
      await tell(upTo(5));
      let sending = late.send();
      // A topic that was made just now may not be found yet.
      reached.promise.then(() => (isReached = true));
      await until(
        "it has begun",
        async () => {
          if (!isReached) await Promise.race([sending, reached.promise]);
          if (!isReached) sending = late.send();
          return isReached;
        },
        20_000,
      );
      await db.query({ text: "update relay set held_until = '-infinity'" });
      expect(await other.holdsLease()).toBe(true);
      await tell([6, 7]);
      await drain(other);
      const cursor = await readCursor(db);
      paused.open();
      await sending;
      expect(await readCursor(db)).toBe(cursor);
      await tell([8]);
      await drain(other);
      expect([...new Set(await sent(13))]).toEqual(upTo(8));
    },
    60_000,
  );
});
