/** Consumers of events over real PostgreSQL, without Kafka. */
import { consumerTests } from "./consumer.cases.ts";

consumerTests("without Kafka", async () => ({ env: { KAFKA_BROKERS: "" }, stop: async () => undefined }));
