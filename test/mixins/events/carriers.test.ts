/** A shop changes its carrier, at once or node by node, with a consumer behind: nothing is lost, doubled or out of order. */
import { afterEach, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { sharedKafka } from "../../harness/kafka.ts";
import { until } from "../../support/until.ts";
import { Chain } from "./chain.ts";

const { brokers, namespace, describe } = await sharedKafka();
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);
const from = (first: number, last: number): number[] => upTo(last).slice(first - 1);

describe("a shop that changes its carrier", () => {
  const WITH_KAFKA = { KAFKA_BROKERS: brokers, KAFKA_PARTITIONS: "2" };
  const BOTH = { teller: true, consumer: true };
  let chain: Chain;
  afterEach(() => chain?.close());

  const published = () =>
    until(
      "all is published",
      async () => (await chain.inTeller("select from outbox where published_at is null")).length === 0,
    );

  test("takes along what its consumer has not taken: to Kafka, back, and to Kafka again", async () => {
    chain = await Chain.open({ NAMESPACE: `${namespace}-switch` });
    const key = newId();
    await chain.start(BOTH);
    await chain.tell(key, upTo(10));
    await chain.arrived(key, upTo(10));
    await chain.stopAll();
    // The consumer is away, and stays behind.
    await chain.start({ teller: true });
    await chain.tell(key, from(11, 300));
    await published();
    await chain.stopAll();

    await chain.start(BOTH, {}, WITH_KAFKA);
    await chain.tell(key, from(301, 310));
    await chain.arrived(key, upTo(310), 30_000);
    expect(await chain.taken(key)).toEqual(upTo(310));
    await chain.stopAll();

    await chain.start({ teller: true }, {}, WITH_KAFKA);
    await chain.tell(key, from(311, 320));
    await published();
    await chain.stopAll();
    await chain.start(BOTH);
    await chain.tell(key, from(321, 330));
    await chain.arrived(key, upTo(330), 30_000);
    expect(await chain.taken(key)).toEqual(upTo(330));
    await chain.stopAll();

    await chain.start(BOTH, {}, WITH_KAFKA);
    await chain.tell(key, from(331, 340));
    await chain.arrived(key, upTo(340), 30_000);
    expect(await chain.taken(key)).toEqual(upTo(340));
    expect(await chain.inConsumer("select 1 from dead_letters")).toEqual([]);
  }, 120_000);

  test("may do so node by node: both kinds of nodes publish and take at once", async () => {
    chain = await Chain.open({ NAMESPACE: `${namespace}-rolling` });
    const keys = Array.from({ length: 4 }, newId);
    const old = [await chain.start(BOTH), await chain.start({ teller: true })];
    const telling = Promise.all(keys.map((key) => chain.tell(key, upTo(150))));
    await Promise.all(keys.map((key) => chain.arrived(key, [1])));
    await chain.start(BOTH, {}, WITH_KAFKA);
    await Promise.all(keys.map((key) => chain.arrived(key, upTo(80), 30_000)));
    for (const broker of old) await chain.stop(broker);
    await telling;
    await Promise.all(keys.map((key) => chain.tell(key, from(151, 160))));
    for (const key of keys) await chain.arrived(key, upTo(160), 30_000);
    for (const key of keys) expect(await chain.taken(key)).toEqual(upTo(160));
  }, 120_000);

  test("begins with Kafka where the slowest reader was, and sends all that is kept where none is known", async () => {
    chain = await Chain.open({ NAMESPACE: `${namespace}-begin` });
    const key = newId();
    await chain.start({ teller: true });
    await chain.tell(key, upTo(20));
    await published();
    await chain.stopAll();
    const positions = await chain.inTeller<{ position: string }>(
      "select position from outbox order by position",
    );
    await chain.inTeller("insert into outbox_readers values ('quick', $1), ('slow', $2)", [
      positions[14]?.position,
      positions[9]?.position,
    ]);
    await chain.start(BOTH, {}, WITH_KAFKA);
    await chain.arrived(key, from(11, 20));
    expect(await chain.taken(key)).toEqual(from(11, 20));
    await chain.inTeller("delete from outbox_readers");
    await chain.arrived(key, upTo(20));
    expect((await chain.taken(key)).toSorted((one, other) => one - other)).toEqual(upTo(20));
  }, 60_000);
});
