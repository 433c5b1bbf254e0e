/**
 * The drills of events, short, as a person runs them. How fast a shop is beside other tests says nothing, so of
 * events-down only what must hold at any speed is looked at.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "@jest/globals";
import { EventServers } from "../../bench/drills/event.servers.ts";
import { Site } from "../../bench/drills/site.ts";
import { topicName } from "../../mixins/events/topics.ts";
import { sharedKafka } from "../harness/kafka.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
// Up to twelve processes start, and the other worker's test file wants the processors too.
const DRILL_MS_MAX = 240_000;

/** A chain that has lost, doubled or mixed up nothing. */
const WHOLE = {
  ...{ untold: 0, toldTwice: 0, toldFalsely: 0, effectsMissing: 0, effectsFalse: 0 },
  ...{ mailsMissing: 0, mailsFalse: 0, keysOutOfOrder: 0, auditOk: true },
};

async function run(...args: string[]): Promise<{ code: number | null; line: object; stderr: string }> {
  const child = spawn(process.execPath, ["bench/drill.ts", ...args, "--json"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { code: child.exitCode, line: JSON.parse(stdout), stderr };
}

// Each drill starts a Kafka of its own: it kills it.
(await sharedKafka()).describe("a drill of events", () => {
  test(
    "waits for a group that has not begun: all of its topics lies before it",
    async () => {
      const site = await Site.open("lag");
      try {
        const servers = await EventServers.open(site);
        const topics = (["orders", "users"] as const).map((topic) => topicName(servers.namespace, topic));
        await servers.withAdmin((admin) =>
          admin.createTopics({ topics: topics.map((topic) => ({ topic, numPartitions: 3 })) }),
        );
        const producer = servers.client().producer();
        await producer.connect();
        const messages = ["a", "b", "c", "d"].map((key) => ({ key, value: "{}" }));
        await producer.send({ topic: topics[0] as string, messages });
        await producer.disconnect();
        expect(await servers.lagOf("notification", ["orders", "users"])).toBe(4);
      } finally {
        await site.close();
      }
    },
    DRILL_MS_MAX,
  );

  test(
    "events-chaos: a relay, a consumer and Kafka are killed, and every event arrives once, in order",
    async () => {
      const { code, line, stderr } = await run("events-chaos", "--orders", "200", "--times", "3");
      const kills = { relay: 1, consumer: 1, kafka: 1 };
      expect({ line, stderr }).toMatchObject({ line: { ...WHOLE, kills, ok: true } });
      expect(code).toBe(0);
    },
    DRILL_MS_MAX,
  );

  test(
    "duplicates: events that come twice and in any order have one effect, and a poison event is replayed",
    async () => {
      const { code, line, stderr } = await run("duplicates", "--orders", "200");
      const poison = { deadLetters: 1, deadLetterTries: 5, replayed: true, lettersLeft: 0 };
      expect({ line, stderr }).toMatchObject({ line: { ...WHOLE, ...poison, mailsRepeated: 0, ok: true } });
      expect(code).toBe(0);
    },
    DRILL_MS_MAX,
  );

  test(
    "events-down: orders are sold while Kafka and the mail server are killed, and their events arrive afterwards",
    async () => {
      const { line, stderr } = await run("events-down", "--seconds", "1", "--times", "1");
      expect({ line, stderr }).toMatchObject({ line: { ...WHOLE, downPerSecond: [expect.any(Number)] } });
      expect((line as { downPerSecond: [number] }).downPerSecond[0]).toBeGreaterThan(0);
    },
    DRILL_MS_MAX,
  );
});
