/** What topics are declared with. */
import { expect, test } from "@jest/globals";
import { MESSAGE_BYTES_MAX, topicSettings } from "../../../mixins/events/topics.ts";

const replicasInSync = (replication: number): unknown =>
  topicSettings("shop.orders.v1", { replication, retentionDays: 7 })["min.insync.replicas"];

test("one broker may die wherever there is another one, and three replicas are two disks at least", () => {
  expect([1, 2, 3, 4, 5].map(replicasInSync)).toEqual([1, 1, 2, 2, 2]);
});

test("events stay as long as they are configured to, dead letters longer, and neither much longer than that", () => {
  const of = (name: string) => topicSettings(name, { replication: 3, retentionDays: 7 });
  const dayMs = 86_400_000;
  expect(of("shop.orders.v1")).toMatchObject({ "retention.ms": 7 * dayMs, "cleanup.policy": "delete" });
  expect(of("shop.orders.v1.dlq")).toMatchObject({ "retention.ms": 28 * dayMs });
  // A consumer remembers what it took for twice the retention of its outbox, to which Kafka's is limited.
  const { "retention.ms": retentionMs, "segment.ms": segmentMs } = of("shop.orders.v1");
  expect(Number(retentionMs) + Number(segmentMs)).toBeLessThan(2 * 7 * dayMs);
});

test("the largest event of the shop fits: a thousand lines with the longest names, all of it escaped", () => {
  const escaped = "\u0001";
  const id = "01890a5d-ac96-774b-bcce-b302099a8057";
  const line = {
    ...{ productId: id, sku: escaped.repeat(64), name: escaped.repeat(200) },
    ...{ quantity: 100_000, unitPrice: Number.MAX_SAFE_INTEGER },
  };
  const payload = { orderId: id, userId: id, total: Number.MAX_SAFE_INTEGER, currency: "EUR" };
  const event = { id, type: "order.confirmed", version: 1, key: id, time: new Date().toISOString() };
  const body = JSON.stringify({ ...event, payload: { ...payload, lines: Array(1_000).fill(line) } });
  expect(Buffer.byteLength(body)).toBeLessThan(MESSAGE_BYTES_MAX / 2);
});
