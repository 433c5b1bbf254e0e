/** Kafka's client as the shop has it: what it leaves behind, and what it says that nobody asked for. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { expect, test } from "@jest/globals";
import { Kafka } from "../../../mixins/events/kafka.ts";
import { freePort } from "../../../scripts/ports.ts";
import { sharedKafka } from "../../harness/kafka.ts";
import { createClient } from "../../support/kafka.ts";
import { until } from "../../support/until.ts";

const { brokers, namespace, describe } = await sharedKafka();

test("what is closed opens nothing any more", async () => {
  const port = await freePort();
  let connections = 0;
  const server = createServer((socket: Socket) => {
    connections++;
    socket.destroy();
  }).listen(port, "127.0.0.1");
  await once(server, "listening");
  const kafka = new Kafka({
    ...{ brokers: [`127.0.0.1:${port}`], clientId: "test", partitions: 1, replication: 1, retentionDays: 1 },
    log: () => undefined,
  });
  await expect(kafka.declare(["topic"])).rejects.toThrow();
  expect(connections).toBeGreaterThan(0);
  await kafka.close();
  connections = 0;
  for (const work of [
    () => kafka.declare(["topic"]),
    () => kafka.lag("group", ["topic"]),
    () => kafka.publish("topic", [{ key: null, value: "", headers: {} }]),
    () => kafka.join({ group: "group", topics: ["topic"], deliver: async () => 0 }),
  ])
    await expect(work()).rejects.toThrow("it is closed");
  // Whatever was begun would be there before this one.
  const probe = new Kafka({
    ...{ brokers: [`127.0.0.1:${port}`], clientId: "probe", partitions: 1, replication: 1, retentionDays: 1 },
    log: () => undefined,
  });
  await expect(probe.declare(["topic"])).rejects.toThrow();
  const ofProbe = connections;
  await probe.close();
  server.close();
  await once(server, "close");
  expect(connections).toBe(ofProbe);
  expect(ofProbe).toBeLessThanOrEqual(8);
});

describe("a process with Kafka", () => {
  test("leaves a group that it was joining when it was closed, whenever that was", async () => {
    const topic = `${namespace}.left`;
    const groups: string[] = [];
    const closedAfter = async (joiningMs?: number) => {
      const kafka = new Kafka({
        ...{ brokers: [brokers], clientId: "test", partitions: 1, replication: 1, retentionDays: 1 },
        log: () => undefined,
      });
      if (joiningMs === undefined) await kafka.declare([topic]);
      const group = `${topic}-${joiningMs}`;
      groups.push(group);
      const joining = kafka
        .join({ group, topics: [topic], deliver: async () => 0 })
        .then((membership) => membership.leave());
      if (joiningMs === undefined) await joining;
      else await new Promise((resolve) => setTimeout(resolve, joiningMs));
      await kafka.close();
      await joining.catch((err) => expect(err.message).toBe("it is closed"));
    };
    // The first member of a Kafka that has just begun is told to wait.
    await closedAfter();
    for (let joiningMs = 0; joiningMs < 30; joiningMs++) await closedAfter(joiningMs);
    const admin = createClient(brokers).admin();
    await admin.connect();
    const members = async () =>
      (await admin.describeGroups(groups)).groups.filter((group) => group.members.length > 0);
    try {
      // One that was cut off while it joined is forgotten when its session is over (10 s); one that goes on never is.
      await until(
        "they are empty, and stay so",
        async () => {
          for (let looks = 0; looks < 10; looks++) if ((await members()).length > 0) return false;
          return true;
        },
        25_000,
      );
    } finally {
      await admin.disconnect();
    }
  }, 60_000);

  test("hears no warnings of its client's timers, and does hear those of its own", async () => {
    const program = `
      import { Kafka } from "./mixins/events/kafka.ts";
      let phase = "kafka";
      process.on("warning", ({ name }) => console.log(name, phase));
      const kafka = new Kafka({ brokers: ["${brokers}"], clientId: "test", partitions: 1, replication: 1, retentionDays: 1, log: () => {} });
      await kafka.declare(["${namespace}.warnings"]);
      await kafka.publish("${namespace}.warnings", [{ key: null, value: "", headers: {} }]);
      await kafka.close();
      await new Promise(setImmediate);
      phase = "own";
      setTimeout(() => undefined, -1);`;
    const child = spawn(
      process.execPath,
      ["--input-type=module-typescript", "--no-warnings", "-e", program],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const [said] = await Promise.all([text(child.stdout), once(child, "exit")]);
    expect(said).toBe("TimeoutNegativeWarning own\n");
  }, 30_000);
});
