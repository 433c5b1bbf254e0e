/** What whoever uses Kafka tells apart; by itself, because kafkajs is loaded only where there is a Kafka. */

/** The messages in hand will be delivered again: to another member, or to this one after it has joined anew. */
export class NoLongerOurs extends Error {}

/** Kafka will never take a message, for what it is: too large, or not as its topic wants it. */
export class MessageRefused extends Error {}
