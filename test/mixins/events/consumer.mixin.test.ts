/** Consumers of events over real PostgreSQL, without Kafka. */
import { expect, test } from "@jest/globals";
import { until } from "../../support/until.ts";
import { Chain } from "./chain.ts";
import { consumerTests } from "./consumer.cases.ts";

const env = { KAFKA_BROKERS: "" };

consumerTests("without Kafka", async () => ({ env, stop: async () => undefined }));

test("a teller that is away is waited for, and that is said once", async () => {
  const chain = await Chain.open(env);
  try {
    const broker = await chain.start({ consumer: true });
    const { registry } = broker;
    const warned: unknown[][] = [];
    broker.logger.warn = (...args: unknown[]) => warned.push(args);
    let looks = 0;
    const original = registry.getActionEndpoints.bind(registry);
    registry.getActionEndpoints = (name: string) => {
      if (name === "order.events") looks++;
      return original(name);
    };
    await until("it was looked for again", () => looks >= 3, 15_000);
    expect(warned).toEqual([]);
    expect(chain.logged).toEqual([
      expect.stringMatching(/the service that tells of orders cannot be reached/),
    ]);
  } finally {
    await chain.close();
  }
});
