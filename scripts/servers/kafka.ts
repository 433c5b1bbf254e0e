/**
 * A Kafka of one node (its own controller), by which events reach their consumers. Where there is Java, Maven fetches
 * Apache's jars once, into the user's cache. Its topics are in its directory: to bring it back with what it had, give
 * it a `directory` that stays.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { freePort } from "../ports.ts";
import { type Product, provide, ServerMissing, type StartOptions } from "./provider.ts";
import type { Server } from "./server.ts";

const IMAGE = "apache/kafka:4.1.0";

/** Its url is `host:port`, as KAFKA_BROKERS has it. */
export async function startKafka(options: StartOptions = {}): Promise<Server> {
  // Only it itself needs to find this one, so it may be another one each time.
  return provide(productOf(await freePort()), options);
}

const productOf = (controllerPort: number): Product => ({
  kind: { name: "kafka", scheme: "", greeting: METADATA_REQUEST, answer: namesABroker, prepare: format },
  args: (port, directory) => {
    const broker = `127.0.0.1:${port}`;
    const settings = {
      ...settingsOf({ broker, controller: `127.0.0.1:${controllerPort}`, advertised: broker }),
      "log.dirs": path.join(directory, "data"),
    };
    // It insists on a file of settings.
    const overrides = Object.entries(settings).flatMap(([name, value]) => ["--override", `${name}=${value}`]);
    return [...JVM, "-cp", path.join(JARS, "*"), "kafka.Kafka", "/dev/null", ...overrides];
  },
  variable: "KAFKA_BROKERS",
  program: "java",
  needs: ["mvn"],
  package: "default-jre-headless maven",
  brew: "openjdk maven",
  fetch: fetchJars,
  image: IMAGE,
  imagePort: 9092,
  imageOptions: (port) =>
    Object.entries(
      settingsOf({ broker: ":9092", controller: ":9093", advertised: `127.0.0.1:${port}` }),
    ).flatMap(([name, value]) => ["--env", `KAFKA_${name.toUpperCase().replaceAll(".", "_")}=${value}`]),
});

const settingsOf = (listeners: { broker: string; controller: string; advertised: string }) => ({
  "process.roles": "broker,controller",
  "node.id": "1",
  listeners: `PLAINTEXT://${listeners.broker},CONTROLLER://${listeners.controller}`,
  "advertised.listeners": `PLAINTEXT://${listeners.advertised}`,
  "controller.listener.names": "CONTROLLER",
  "controller.quorum.voters": `1@${listeners.controller.replace(/^:/, "localhost:")}`,
  "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
  // A topic that nobody declared is a mistake, to be heard of.
  "auto.create.topics.enable": "false",
  "offsets.topic.replication.factor": "1",
  "offsets.topic.num.partitions": "1",
  "transaction.state.log.replication.factor": "1",
  "transaction.state.log.min.isr": "1",
  "transaction.state.log.num.partitions": "1",
  // Otherwise the first member of a group waits 3 s for others.
  "group.initial.rebalance.delay.ms": "0",
  // One that was killed cannot register again before its session is over: 9 s by default.
  "broker.session.timeout.ms": "2000",
  "broker.heartbeat.interval.ms": "250",
});

// Soon there and small: it serves one shop, for minutes.
const JVM = [
  ...["-Xms96m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
  "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/** Stands for `kafka-storage format`, which takes another Java virtual machine a second. */
async function format(directory: string): Promise<void> {
  const data = path.join(directory, "data");
  await mkdir(data, { recursive: true });
  const file = path.join(data, "meta.properties");
  if (!existsSync(file)) await writeFile(file, "version=1\nnode.id=1\ncluster.id=shopshopshopshopshopsA\n");
}

const POM = fileURLToPath(new URL("kafka.pom.xml", import.meta.url));

// Other versions are another directory.
const JARS = path.join(
  process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"),
  "concord",
  `kafka-${createHash("sha256").update(readFileSync(POM)).digest("hex").slice(0, 12)}`,
);

async function fetchJars(log?: (line: string) => void): Promise<void> {
  if (existsSync(JARS)) return;
  log?.("fetching Apache Kafka with Maven (once) ...");
  await mkdir(path.dirname(JARS), { recursive: true });
  const unfinished = await mkdtemp(`${JARS}-`);
  try {
    const goal = ["dependency:copy-dependencies", `-DoutputDirectory=${unfinished}`];
    const { status, stdout } = spawnSync("mvn", ["--batch-mode", "--quiet", "--file", POM, ...goal], {
      encoding: "utf8",
    });
    if (status !== 0)
      throw new ServerMissing(
        `Maven cannot fetch Apache Kafka: ${/^\[ERROR\] (.*)/m.exec(stdout)?.[1] ?? stdout}`,
      );
    // Somebody else may have been faster.
    await rename(unfinished, JARS).catch((err) => {
      if (!existsSync(JARS)) throw err;
    });
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

// Metadata, version 1, of no topic: the brokers alone. The protocol is big-endian and says sizes first.
const METADATA_REQUEST = Buffer.from(
  "00000013" + "0003" + "0001" + "00000000" + "0005" + "7265616479" + "00000000",
  "hex",
);

/** True once the controller has taken the broker in, and clients are sent to it. */
const namesABroker = (answer: Buffer): boolean => answer.length >= 12 && answer.readInt32BE(8) > 0;
