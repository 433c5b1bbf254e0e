/**
 * Carries events where there is no Kafka: asks the service that tells them for what comes after the offset, which lies
 * in the consumer's database and moves in the transaction of the effects. Replicas may do the same at once: one of them
 * moves the offset, and the others find that they were overtaken.
 */
import type { ServiceBroker } from "moleculer";
import type { Database } from "../database.mixin.ts";
import { expectServed } from "../registry.ts";
import { UNTRACED } from "../traces.ts";
import { type Carrier, type Delivery, Overtaken } from "./delivery.ts";
import { moveOffset, readOffset } from "./inbox.rows.ts";
import type { Outage } from "./outage.ts";
import type { EventsAnswer, EventsParams, Lag } from "./outbox.mixin.ts";
import { TOPICS, type Topic } from "./topics.ts";

/** Twice what a relay publishes in the same time, so that a consumer that was away catches up. */
const BATCH_MAX = 500;
/** The loop asks again soon; meanwhile nobody waits. */
const CALL_MS_MAX = 5_000;
/** A scrape waits for it. */
const LAG_MS_MAX = 1_500;

interface PullOptions {
  topic: Topic;
  /** The service that consumes. */
  service: string;
  broker: ServiceBroker;
  db: Database;
  delivery: Delivery;
  outage: Outage;
  pause: Carrier["pause"];
}

export class Pull {
  readonly #options: PullOptions;
  /** Undefined where it is to be read anew. */
  #position: number | undefined;

  constructor(options: PullOptions) {
    this.#options = options;
  }

  async tick(): Promise<boolean> {
    const { topic, service: consumer, broker, db, delivery, outage, pause } = this.#options;
    // The teller may be one of the services of this process that are still starting, and nobody is away.
    if (!broker.started) return false;
    this.#position ??= await readOffset(db, topic);
    const params: EventsParams = { consumer, after: this.#position, limit: BATCH_MAX };
    const events = await outage.patiently(() => this.#ask<EventsAnswer>("events", params, CALL_MS_MAX));
    if (!events || events.length === 0) return false;
    // Read anew, unless all goes well: whether a transaction that failed was stored may be unknown.
    this.#position = undefined;
    const arrivals = events.map(({ position, ...event }) => ({
      topic,
      partition: 0,
      position,
      event,
      // Wanted for dead letters alone.
      get body() {
        return JSON.stringify(event);
      },
    }));
    try {
      const taken = await delivery.deliver(arrivals, {
        pause,
        async moved(tx, position) {
          if (!(await moveOffset(tx, topic, position))) throw new Overtaken();
        },
      });
      this.#position = arrivals[taken - 1]?.position;
    } catch (err) {
      if (!(err instanceof Overtaken)) throw err;
    }
    return false;
  }

  async lag(): Promise<Lag> {
    const { topic, db } = this.#options;
    const after = await readOffset(db, topic);
    return this.#ask<Lag>("lagAfter", { after }, LAG_MS_MAX);
  }

  async #ask<Answer>(what: "events" | "lagAfter", params: object, timeout: number): Promise<Answer> {
    const { topic, broker } = this.#options;
    const action = `${TOPICS[topic]}.${what}`;
    expectServed(broker, action);
    return broker.call<Answer, object>(action, params, { ...UNTRACED, timeout });
  }
}
