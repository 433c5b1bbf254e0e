/**
 * Publishes a service's outbox: rows that were written in the transaction of what they tell get positions, and then are a
 * log that is read in its order: by consumers, which ask for what comes after the position they have reached, and where
 * there is Kafka by a relay that sends it there. A crash in between sends again; consumers drop what they have taken.
 * Any number of replicas may run, those with Kafka beside those without.
 */
import type { Context, ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { stopStep } from "../../lib/stop.ts";
import { actorsMixin } from "../actors.mixin.ts";
import type { Database } from "../database.mixin.ts";
import { measure } from "../measures.ts";
import { kafkaOutage, openKafka } from "./kafka.open.ts";
import { KafkaRelay } from "./kafka.relay.ts";
import {
  eventsAfter,
  knownReaders,
  type Lag,
  lagAfter,
  noteReader,
  outboxLag,
  outboxLagOf,
  type PositionedEvent,
  pruneOutbox,
  publishNext,
} from "./outbox.rows.ts";
import { countRefused, KAFKA } from "./relay.rows.ts";
import { topicOf } from "./topics.ts";

/** How long an event waits at most before it is published; many share the statement, and its way to the disk. */
const INTERVAL_MS = 250;
/** Some 10 ms of PostgreSQL's; in larger batches each event takes several times as long. After a full one comes the next. */
const BATCH_MAX = 250;
/** An operator waits for it. */
const REPLAY_MS = 1_000;
/** What is deleted with age may wait. */
const PRUNE_MS = 60_000;
/** A reader counts as silent only where it could ask: after a shop was off for long, readers get so much time to come back. */
const READERS_BACK_MS = 600_000;
/** How old it may be what is written down of a reader that is on its way, by which nothing but deletion and a new carrier go. */
const NOTED_MS = 60_000;

/** What is known here of a reader. */
interface Reader {
  position: number;
  /** As it is written down, and when that was. */
  noted: number;
  notedAt: number;
}

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
        await this.note(consumer, after);
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
        for (const [consumer, { position }] of this.readers as Map<string, Reader>)
          known.set(consumer, Math.max(position, known.get(consumer) ?? 0));
        // What it has not got counts as not published.
        if (this.kafkaRelay) known.delete(KAFKA);
        const readers = [...known].map(async ([consumer, after]) => ({
          consumer,
          ...(await lagAfter(this.db, after)),
        }));
        return { ...(await this.lag()), readers: await Promise.all(readers) };
      },
    },
  },

  created() {
    /** How far each consumer says that it is. */
    this.readers = new Map<string, Reader>();
    /** Those that it was said of that nothing is kept for them. */
    this.ignored = new Set<string>();
    measure(this, async () => {
      if (!this.db) return [];
      const { events, seconds } = await this.lag();
      return [
        ["shop_outbox_unpublished_events", events],
        ["shop_outbox_oldest_seconds", seconds],
        ["shop_outbox_refused_events", await countRefused(this.db)],
      ];
    });
  },

  async started() {
    this.upSince = performance.now();
    this.kafkaRelay = await this.openRelay();
    this.supervisor.loop({ name: "relay", intervalMs: INTERVAL_MS, tick: () => this.relay() });
    if (this.kafkaRelay)
      this.supervisor.loop({
        name: "relay-replays",
        intervalMs: REPLAY_MS,
        tick: () => this.kafkaRelay.replay(),
      });
    this.supervisor.loop({ name: "outbox-prune", intervalMs: PRUNE_MS, tick: () => this.prune() });
  },

  async stopped() {
    await stopStep("kafka", this.logger, this.kafkaRelay?.stop());
  },

  methods: {
    async openRelay(): Promise<KafkaRelay | undefined> {
      const kafka = await openKafka(this.logger);
      if (!kafka) return undefined;
      const { broker, db, logger, name } = this;
      return new KafkaRelay({
        ...{ service: name, topic: topicOf(name), namespace: config.namespace, nodeId: config.nodeId },
        ...{ broker, db, kafka, outage: kafkaOutage(logger), logger },
      });
    },

    /** What is published is in the log; Kafka has it a moment later, or when it is there again. */
    async relay(): Promise<boolean> {
      const relay: KafkaRelay | undefined = this.kafkaRelay;
      if (relay && !(await relay.holdsLease())) return false;
      const published = await publishNext(this.db, BATCH_MAX);
      const isMoreToSend = (await relay?.send()) ?? false;
      return published === BATCH_MAX || isMoreToSend;
    },

    lag(): Promise<Lag> {
      return this.kafkaRelay ? outboxLagOf(this.db, KAFKA) : outboxLag(this.db);
    },

    async note(consumer: string, position: number): Promise<void> {
      const now = performance.now();
      const known = (this.readers as Map<string, Reader>).get(consumer);
      // One that rests is written down at once: mostly it has everything, and whoever looks shall see that.
      const rests = known?.position === position && known.noted !== position;
      const isDue = !known || rests || now - known.notedAt >= NOTED_MS;
      if (isDue) await noteReader(this.db, consumer, position);
      this.readers.set(
        consumer,
        isDue ? { position, noted: position, notedAt: now } : { ...known, position },
      );
    },

    async prune(): Promise<boolean> {
      await this.kafkaRelay?.look();
      if (performance.now() - this.upSince < READERS_BACK_MS) return false;
      const days = config.eventRetentionDays;
      const { more, ignored } = await (this.db as Database).transaction((tx) => pruneOutbox(tx, days));
      for (const consumer of ignored.filter((name) => !this.ignored.has(name)))
        this.logger.warn(
          `${consumer} has not asked for events for ${days} days: they are not kept for it any more. If it is gone ` +
            `for good: npm run events -- forget ${this.name} ${consumer}`,
        );
      this.ignored = new Set(ignored);
      return more;
    },
  },
};
