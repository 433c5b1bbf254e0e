/** Kafka as the configuration has it, or none. */
import { config } from "../../config/index.ts";
import type { Kafka } from "./kafka.ts";
import { Outage } from "./outage.ts";

interface Logger {
  debug(...args: unknown[]): void;
  info(...args: unknown[]): void;
  warn(...args: unknown[]): void;
}

/** Undefined where events do not travel by Kafka. Connects to nothing yet. */
export async function openKafka(logger: Logger): Promise<Kafka | undefined> {
  const { kafkaBrokers, kafkaPartitions, kafkaReplication, kafkaRetentionDays, nodeId } = config;
  if (kafkaBrokers.length === 0) return undefined;
  // Most shops have none, and kafkajs is slow to load.
  const { Kafka } = await import("./kafka.ts");
  return new Kafka({
    brokers: kafkaBrokers,
    clientId: nodeId,
    partitions: kafkaPartitions,
    replication: kafkaReplication,
    retentionDays: kafkaRetentionDays,
    // What matters of it comes as an error too.
    log: (text) => logger.debug(text),
  });
}

export const kafkaOutage = (logger: Logger): Outage =>
  new Outage(`Kafka (${config.kafkaBrokers.join(", ")})`, logger);
