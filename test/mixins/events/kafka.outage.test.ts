/** Kafka goes and comes, and relays and consumers with it: events wait, nobody fails, each has its one effect. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import type { ServiceBroker } from "moleculer";
import { newId } from "../../../lib/ids.ts";
import { freePort } from "../../../scripts/ports.ts";
import { startKafka } from "../../../scripts/servers/kafka.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import { describeWith } from "../../harness/servers.ts";
import { until } from "../../support/until.ts";
import { Chain } from "./chain.ts";

const describe = await describeWith(startKafka);
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);

describe("a Kafka that comes and goes", () => {
  let directory: string;
  let port: number;
  let kafka: Server | undefined;
  let chain: Chain;
  const start = async () => {
    kafka = await startKafka({ port, directory });
  };
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "shop-kafka-kept-"));
    port = await freePort();
    chain = await Chain.open({ KAFKA_BROKERS: `127.0.0.1:${port}`, KAFKA_PARTITIONS: "2" });
  });
  afterEach(() => {
    chain.onEvents = async () => undefined;
  });
  afterAll(async () => {
    await chain?.close();
    await kafka?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const actorsOf = (broker: ServiceBroker) =>
    broker.call<{ name: string; failing: boolean }[], object>("order.health", {});

  test("a start does not wait for it, nobody fails without it, and it is said once", async () => {
    const startedAt = performance.now();
    const broker = await chain.start({ teller: true, consumer: true });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    const key = newId();
    await chain.tell(key, upTo(3));
    const away = () => chain.logged.filter((line) => line.includes("cannot be reached"));
    await until("it is said", () => away().length > 0);
    // Long enough for several tries, of which five failures in a row would make a loop count as failing.
    await until("it was tried again", async () => performance.now() - startedAt > 6_000, 10_000, 100);
    expect(await actorsOf(broker)).toEqual(
      expect.arrayContaining([expect.objectContaining({ failing: false })]),
    );
    // By each of the two, the teller and the consumer.
    const line = expect.stringContaining(`Kafka (127.0.0.1:${port}) cannot be reached`);
    expect(away()).toEqual([line, line]);
    await start();
    await chain.arrived(key, upTo(3), 30_000);
    expect(await chain.taken(key)).toEqual(upTo(3));
  }, 60_000);

  test("it is killed and comes back with what it had: every event has one effect, in order", async () => {
    const key = newId();
    const telling = (async () => {
      for (const n of upTo(60)) {
        await chain.tell(key, [n]);
        if (n === 20) {
          process.kill(kafka?.pid as number, "SIGKILL");
          await kafka?.stop();
        }
        if (n === 40) await start();
      }
    })();
    await telling;
    await chain.arrived(key, upTo(60), 60_000);
    expect(await chain.taken(key)).toEqual(upTo(60));
  }, 120_000);

  test("several relays and members of the group share the work, and one effect comes of each event", async () => {
    const others = [
      await chain.start({ teller: true, consumer: true }),
      await chain.start({ teller: true, consumer: true }),
    ];
    const keys = Array.from({ length: 6 }, newId);
    const telling = Promise.all(keys.map((key) => chain.tell(key, upTo(40))));
    await Promise.all(keys.map((key) => chain.arrived(key, [1], 30_000)));
    // One leaves in the middle of it.
    await chain.stop(others[0] as ServiceBroker);
    await telling;
    for (const key of keys) await chain.arrived(key, upTo(40), 30_000);
    for (const key of keys) expect(await chain.taken(key)).toEqual(upTo(40));
    await chain.stop(others[1] as ServiceBroker);
  }, 120_000);

  test("it stops in seconds while Kafka is away, and goes on after the next start", async () => {
    process.kill(kafka?.pid as number, "SIGKILL");
    await kafka?.stop();
    const key = newId();
    await chain.tell(key, upTo(2));
    const startedAt = performance.now();
    await chain.stopAll();
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    await start();
    await chain.start({ teller: true, consumer: true });
    await chain.arrived(key, upTo(2), 30_000);
    expect(await chain.taken(key)).toEqual(upTo(2));
  }, 60_000);
});
