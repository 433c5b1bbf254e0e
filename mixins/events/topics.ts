/**
 * Which topics there are, how they are declared, and which service tells each. A topic is what one service tells of one
 * kind of thing; its version is that of the envelope, not of the events in it.
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

const DEAD = ".dlq";

/** Where a topic's events go that a consumer could not take. */
export const deadLetterTopicName = (namespace: string, topic: Topic): string =>
  `${topicName(namespace, topic)}${DEAD}`;

/**
 * What our own services can tell at most is an order of a thousand lines, whose names are written with escapes: under
 * 2 MB, where Kafka's default is 1 MB. Whatever is larger all the same is refused, and kept by the relay.
 */
export const MESSAGE_BYTES_MAX = 4_000_000;
/** People look at dead letters when they have time. */
const DEAD_RETENTION_FACTOR = 4;
/** A message goes with the whole of its segment, so it may stay longer than it must by a segment's age. */
const SEGMENTS = 4;
const DAY_MS = 86_400_000;

/** Of a topic that is made, by its name; all that the shop depends on, so that no default of a broker decides. */
export function topicSettings(
  name: string,
  { replication, retentionDays }: { replication: number; retentionDays: number },
): Record<string, string | number> {
  const retentionMs = retentionDays * DAY_MS * (name.endsWith(DEAD) ? DEAD_RETENTION_FACTOR : 1);
  return {
    "cleanup.policy": "delete",
    "retention.ms": retentionMs,
    "retention.bytes": -1,
    "segment.ms": retentionMs / SEGMENTS,
    // Kafka's own clock, by which it counts retention; a relay's may be wrong.
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": MESSAGE_BYTES_MAX,
    // With three replicas or more, what is acknowledged is on two disks, and one broker may die. With two, insisting on
    // both would stop events whenever either dies; and what a lost disk takes is still in the outbox.
    "min.insync.replicas": replication >= 3 ? 2 : 1,
  };
}

export function topicOf(service: string): Topic {
  const found = (Object.keys(TOPICS) as Topic[]).find((topic) => TOPICS[topic] === service);
  if (!found) throw new Error(`${service} tells no topic; add it to TOPICS`);
  return found;
}
