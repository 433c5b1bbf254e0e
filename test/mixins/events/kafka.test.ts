/** Consumers of events over a real Kafka. */
import { sharedKafka } from "../../harness/kafka.ts";
import { consumerTests } from "./consumer.cases.ts";

const { brokers, namespace, describe } = await sharedKafka();

describe("a shop with Kafka", () => {
  consumerTests("with Kafka", async () => ({
    env: { KAFKA_BROKERS: brokers, NAMESPACE: namespace, KAFKA_PARTITIONS: "2" },
    stop: async () => undefined,
  }));
});
