/**
 * Which topics there are, and which service tells each. A topic is what one service tells of one kind of thing; its
 * version is that of the envelope, not of the events in it.
 */
import type { DatabaseName } from "../../config/index.ts";

/** By topic, the service whose outbox it is. */
export const TOPICS = {
  orders: "order",
  users: "user",
  products: "product",
  payments: "payment",
} as const satisfies Record<string, DatabaseName>;
export type Topic = keyof typeof TOPICS;

/** The name by which Kafka knows it: `shop.orders.v1`. */
export const topicName = (namespace: string, topic: Topic): string => `${namespace}.${topic}.v1`;

/** Where a topic's events go that a consumer could not take. */
export const deadLetterTopicName = (namespace: string, topic: Topic): string =>
  `${topicName(namespace, topic)}.dlq`;

export function topicOf(service: string): Topic {
  const found = (Object.keys(TOPICS) as Topic[]).find((topic) => TOPICS[topic] === service);
  if (!found) throw new Error(`${service} tells no topic; add it to TOPICS`);
  return found;
}
