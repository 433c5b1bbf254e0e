/**
 * Publishes a service's outbox: rows that were written in the transaction of what they tell. With Kafka a relay sends
 * them there, lowest first, and marks them after the acknowledgement; without, marking is the publishing, and consumers
 * ask for what comes after the position they have reached. A crash in between publishes again; consumers drop what
 * they have taken. Any number of replicas may run.
 */
import type { Context, ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { stopStep } from "../../lib/stop.ts";
import { actorsMixin } from "../actors.mixin.ts";
import { measure } from "../measures.ts";
import { kafkaOutage, openKafka } from "./kafka.open.ts";
import { KafkaRelay } from "./kafka.relay.ts";
import {
  eventsAfter,
  knownReaders,
  type Lag,
  lagAfter,
  markPublished,
  outboxLag,
  type PositionedEvent,
  pruneOutbox,
  unpublished,
} from "./outbox.rows.ts";
import { topicOf } from "./topics.ts";

/** Paced, so that mail never competes with checkouts for the disk: at most 250 events every quarter second. */
const INTERVAL_MS = 250;
const BATCH_MAX = 250;
/** What is deleted with age may wait. */
const PRUNE_MS = 60_000;

export interface EventsParams {
  /** The service that asks. */
  consumer: string;
  /** Everything up to here has had its effect there. */
  after: number;
  limit: number;
}

/** `<service>.events`: in the order in which they became visible. */
export type EventsAnswer = PositionedEvent[];

export type { Lag } from "./outbox.rows.ts";

export type OutboxLag = Lag & { readers: (Lag & { consumer: string })[] };

const POSITION = { type: "number", integer: true, min: 0 } as const;

/** Before databaseMixin in a service's mixins. */
export const outboxMixin: Partial<ServiceSchema> = {
  mixins: [actorsMixin],

  actions: {
    // Called by consumers where there is no Kafka.
    events: {
      visibility: "public",
      idempotent: true,
      params: { consumer: "string", after: POSITION, limit: { ...POSITION, min: 1, max: 1_000 } },
      async handler(ctx: Context<EventsParams>): Promise<EventsAnswer> {
        const { consumer, after, limit } = ctx.params;
        this.readers.set(consumer, after);
        return eventsAfter(this.db, after, limit);
      },
    },

    // Asked by consumers: what was published after a position.
    lagAfter: {
      visibility: "public",
      idempotent: true,
      params: { after: POSITION },
      handler(ctx: Context<{ after: number }>): Promise<Lag> {
        return lagAfter(this.db, ctx.params.after);
      },
    },

    // For operators: what is not published, and what each reader, also one that is away, had not taken when it last asked.
    outboxLag: {
      visibility: "public",
      idempotent: true,
      params: {},
      async handler(): Promise<OutboxLag> {
        const known = await knownReaders(this.db);
        for (const [consumer, after] of this.readers as Map<string, number>)
          known.set(consumer, Math.max(after, known.get(consumer) ?? 0));
        const readers = [...known].map(async ([consumer, after]) => ({
          consumer,
          ...(await lagAfter(this.db, after)),
        }));
        return { ...(await outboxLag(this.db)), readers: await Promise.all(readers) };
      },
    },
  },

  created() {
    /** How far each consumer says that it is. */
    this.readers = new Map<string, number>();
    measure(this, async () => {
      if (!this.db) return [];
      const { events, seconds } = await outboxLag(this.db);
      return [
        ["shop_outbox_unpublished_events", events],
        ["shop_outbox_oldest_seconds", seconds],
      ];
    });
  },

  async started() {
    this.kafkaRelay = this.openRelay();
    this.supervisor.loop({ name: "relay", intervalMs: INTERVAL_MS, tick: () => this.relay() });
    this.supervisor.loop({ name: "outbox-prune", intervalMs: PRUNE_MS, tick: () => this.prune() });
  },

  async stopped() {
    await stopStep("kafka", this.logger, this.kafkaRelay?.stop());
  },

  methods: {
    openRelay(): KafkaRelay | undefined {
      const kafka = openKafka(this.logger);
      if (!kafka) return undefined;
      const { broker, db, logger, name } = this;
      return new KafkaRelay({
        ...{ service: name, topic: topicOf(name), namespace: config.namespace, nodeId: config.nodeId },
        ...{ broker, db, kafka, outage: kafkaOutage(logger) },
      });
    },

    async relay(): Promise<boolean> {
      if (this.kafkaRelay) return this.kafkaRelay.tick(BATCH_MAX);
      const sequences = await unpublished(this.db, BATCH_MAX);
      if (sequences.length > 0) await markPublished(this.db, sequences);
      return false;
    },

    prune(): Promise<boolean> {
      return this.db.transaction((tx: never) => pruneOutbox(tx, config.eventRetentionDays, this.readers));
    },
  },
};
