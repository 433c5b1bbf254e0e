/**
 * Remembers how far what was sent to Kafka's logs has come, and so finds one that is another log under the same name:
 * the offsets of one log grow for as long as it lives. It knows nothing of what it did not send itself.
 */

/** What was sent to a topic before is not there any more: it was deleted, or Kafka came back without it. */
export class LogReplaced extends Error {}

export class SentOffsets {
  /** By topic and partition, the last offset that a message was given. */
  readonly #topics = new Map<string, Map<number, number>>();

  /** Notes all of what one request was given, and then throws where a log has begun anew. */
  follow(topic: string, sent: readonly { partition: number; baseOffset?: string }[]): void {
    const last = this.#topics.get(topic) ?? new Map<number, number>();
    this.#topics.set(topic, last);
    const faults = sent.map(({ partition, baseOffset }) => {
      const [offset, before] = [Number(baseOffset), last.get(partition) ?? -1];
      last.set(partition, offset);
      return offset > before ? "" : `partition ${partition} is at ${offset}, and was at ${before}`;
    });
    const fault = faults.find((text) => text !== "");
    if (fault) throw new LogReplaced(`${topic} has been emptied: ${fault}`);
  }

  /** Its log is known to be a new one. */
  forget(topic: string): void {
    this.#topics.delete(topic);
  }
}
