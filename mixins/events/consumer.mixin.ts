/**
 * Makes a service a consumer of events: what stands in its `events` under the name of a kind (`order.confirmed.v1`) is
 * called with a transaction of the service's database and with events, in order, each for once. The service's database
 * holds the tables inbox, event_offsets and dead_letters. Nothing that is away, Kafka or a teller of events, makes the
 * service fail or its start wait.
 */
import type { ServiceSchema } from "moleculer";
import { config } from "../../config/index.ts";
import { partsOf } from "../../lib/event.ts";
import { stopStep } from "../../lib/stop.ts";
import { actorsMixin } from "../actors.mixin.ts";
import { measure, type Reading } from "../measures.ts";
import { tracesOf } from "../traces.ts";
import { Delivery, type EventHandler, Stopping } from "./delivery.ts";
import { countDeadLetters, lettersToReplay, pruneInbox } from "./inbox.rows.ts";
import { KafkaGroup } from "./kafka.group.ts";
import { kafkaOutage, openKafka } from "./kafka.open.ts";
import { Outage } from "./outage.ts";
import { Pull } from "./pull.ts";
import { type Topic, topicOf } from "./topics.ts";

export type { EventHandler } from "./delivery.ts";

/** As often as a relay publishes. */
const INTERVAL_MS = 250;
/** An operator waits for it. */
const REPLAY_MS = 1_000;
const REPLAYED_MAX = 20;
/** A hundred thousand events in a minute are forgotten, more than come. */
const PRUNE_MS = 10_000;

/** Null where it cannot be told at present. */
export type ConsumerLag = { topic: Topic; events: number | null; seconds: number | null };

/** Before databaseMixin in a service's mixins. */
export const consumerMixin: Partial<ServiceSchema> = {
  mixins: [actorsMixin],

  actions: {
    // For operators: what was published and has not had its effect here, by topic.
    eventsLag: {
      visibility: "public",
      idempotent: true,
      params: {},
      handler(): Promise<ConsumerLag[]> {
        return this.eventsLag();
      },
    },
  },

  // The framework would take them for events of its own. (Its types do not know this hook.)
  ...({ merged: takeKinds } as object),

  created() {
    this.stopping = new AbortController();
    this.pulls = [];
    this.pruneFrom = 0;
    measure(this, () => this.consumerReadings());
  },

  async started() {
    const handlers = new Map<string, EventHandler>(
      [...((this.schema as Consuming).consumed ?? [])].map(([kind, handler]) => [kind, handler.bind(this)]),
    );
    const { broker, db, logger, name } = this;
    const topics = new Set([...handlers.keys()].map((kind) => topicOf(kind.split(".")[0] as string)));
    this.delivery = new Delivery({ service: name, db, handlers, logger, traces: tracesOf(broker) });
    // Told from the start, so that the first dead letter is seen as a rise.
    for (const topic of topics) this.delivery.buried.set(topic, 0);
    const pause = (ms: number): Promise<void> => this.pause(ms);
    const kafka = await openKafka(logger);
    if (kafka) {
      this.group = new KafkaGroup({
        ...{ service: name, topics: [...topics], namespace: config.namespace, kafka },
        ...{ delivery: this.delivery, outage: kafkaOutage(logger), logger },
      });
      this.supervisor.loop({ name: "events", intervalMs: INTERVAL_MS, tick: () => this.group.tick() });
    }
    for (const topic of kafka ? [] : topics) {
      const outage = new Outage(`the service that tells of ${topic}`, logger);
      const pull = new Pull({ topic, service: name, broker, db, delivery: this.delivery, outage, pause });
      this.pulls.push([topic, pull]);
      this.supervisor.loop({
        name: `events:${topic}`,
        intervalMs: INTERVAL_MS,
        tick: () => untilStopped(pull.tick()),
      });
    }
    this.supervisor.loop({ name: "replays", intervalMs: REPLAY_MS, tick: () => this.replayLetters() });
    this.supervisor.loop({
      name: "inbox-prune",
      intervalMs: PRUNE_MS,
      // An event may come again for as long as its outbox keeps it, and for as long as somebody was away before.
      tick: async () => {
        this.pruneFrom = await pruneInbox(this.db, 2 * config.eventRetentionDays, this.pruneFrom);
        return false;
      },
    });
  },

  async stopped() {
    this.stopping.abort(new Stopping());
    await stopStep("kafka", this.logger, this.group?.stop());
  },

  methods: {
    async replayLetters(): Promise<boolean> {
      const letters = await lettersToReplay(this.db, REPLAYED_MAX);
      const replays: Promise<void> = this.delivery.replay(letters, (ms: number) => this.pause(ms));
      return untilStopped(replays.then(() => letters.length === REPLAYED_MAX));
    },

    /** Rejects when the service stops: what was to be tried again then is delivered again after the next start. */
    pause(ms: number): Promise<void> {
      const { signal } = this.stopping;
      return new Promise((resolve, reject) => {
        const stop = () => {
          clearTimeout(timer);
          reject(signal.reason);
        };
        const timer = setTimeout(() => {
          signal.removeEventListener("abort", stop);
          resolve();
        }, ms);
        if (signal.aborted) stop();
        else signal.addEventListener("abort", stop, { once: true });
      });
    },

    eventsLag(): Promise<ConsumerLag[]> {
      if (this.group) return this.group.lag();
      return Promise.all(
        (this.pulls as [Topic, Pull][]).map(async ([topic, pull]) => {
          const lag = await pull.lag().catch(() => ({ events: null, seconds: null }));
          return { topic, ...lag };
        }),
      );
    },

    async consumerReadings(): Promise<Reading[]> {
      if (!this.delivery) return [];
      const { buried } = this.delivery as Delivery;
      const readings: Reading[] = [
        ["shop_dead_letters", await countDeadLetters(this.db)],
        ...[...buried].map(([topic, n]): Reading => ["shop_dead_letters_total", n, { topic }]),
      ];
      for (const { topic, events, seconds } of (await this.eventsLag()) as ConsumerLag[])
        for (const [name, value] of [
          ["shop_consumer_lag_events", events],
          ["shop_consumer_lag_seconds", seconds],
        ] as const)
          if (value !== null) readings.push([name, value, { topic }]);
      return readings;
    },
  },
};

/** A pause that the stop has ended is no failure. */
const untilStopped = (work: Promise<boolean>): Promise<boolean> =>
  work.catch((err) => {
    if (!(err instanceof Stopping)) throw err;
    return false;
  });

interface Consuming extends ServiceSchema {
  consumed?: ReadonlyMap<string, EventHandler>;
}

function takeKinds(schema: Consuming): void {
  const handlers = new Map<string, EventHandler>();
  for (const [name, entry] of Object.entries(schema.events ?? {})) {
    if (!partsOf(name)) continue;
    // Merging has made `{ handler }` of it.
    handlers.set(name, (entry as unknown as { handler: EventHandler }).handler);
    delete schema.events?.[name];
  }
  if (handlers.size === 0) throw new Error(`${schema.name} consumes nothing: its events name no kind`);
  schema.consumed = handlers;
}
