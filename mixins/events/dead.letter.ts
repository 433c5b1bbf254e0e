/** What is kept of an event that could not be taken, and by which id. Pure. */
import { createHash } from "node:crypto";
import { inspect } from "node:util";
import type { ShopEvent } from "../../lib/event.ts";
import type { Topic } from "./topics.ts";

/** An event as it came. */
export interface Arrival {
  topic: Topic;
  partition: number;
  /** Kafka's offset, or the position in the outbox. */
  position: number;
  body: string;
  /** Undefined where the body is no event. */
  event: ShopEvent | undefined;
}

/** A failure for good, and how often it was tried. Anything may have been thrown. */
export interface Failure {
  cause: Partial<Error> | null | undefined;
  attempts: number;
}

export interface DeadLetter {
  id: string;
  topic: Topic;
  partition: number;
  position: number;
  body: string;
  error: string;
  stack: string | null;
  attempts: number;
}

export function letterOf(
  service: string,
  { topic, partition, position, body }: Arrival,
  { cause, attempts }: Failure,
): DeadLetter {
  return {
    // With the body: another carrier, or a topic that was made anew, counts its positions from the beginning again.
    id: idOf(`${service} ${topic} ${partition} ${position} ${body}`),
    topic,
    partition,
    position,
    body: storable(body),
    error: storable(typeof cause?.message === "string" ? cause.message : inspect(cause)),
    stack: typeof cause?.stack === "string" ? storable(cause.stack) : null,
    attempts,
  };
}

/** The same for what is buried twice, because the offset did not move the first time. A UUID of version 8. */
function idOf(place: string): string {
  const digits = createHash("sha256").update(place).digest("hex");
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-8${digits.slice(13, 16)}-a${digits.slice(17, 20)}-${digits.slice(20, 32)}`;
}

/** PostgreSQL takes no U+0000. */
const storable = (text: string): string => text.replaceAll("\0", "\ufffd");
