/** The Kafka that all test files share. */
import { expect, it } from "@jest/globals";
import { consume, createClient, produce } from "../support/kafka.ts";
import { sharedKafka } from "./kafka.ts";

const one = await sharedKafka();
const two = await sharedKafka();

one.describe("the Kafka of a test run", () => {
  it("is the same for everybody, with a namespace for each", async () => {
    expect(two.brokers).toBe(one.brokers);
    expect(two.namespace).not.toBe(one.namespace);
    const client = createClient(one.brokers);
    const topic = `${one.namespace}.orders.v1`;
    await produce(client, topic, ["1", "2", "3"]);
    expect(await consume(client, topic, 3)).toEqual(["1", "2", "3"]);
  });
});
