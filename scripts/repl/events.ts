/**
 * The console's command `events lag`: what each service's outbox holds unpublished, what each consumer has not taken of
 * what was published, and how old the oldest of it is.
 */
import type { ServiceBroker } from "moleculer";
import type { ConsumerLag } from "../../mixins/events/consumer.mixin.ts";
import type { Lag, OutboxLag } from "../../mixins/events/outbox.mixin.ts";
import { complaint } from "./complaint.ts";
import { age, type Cell, type Paint, table } from "./paper.ts";

const TIMEOUT_MS = 3_000;
/** Relays and consumers run four times a second: what is older is held up by something. */
const LATE_SECONDS = 10;

type Row = (string | Cell)[];

export async function eventsLag(broker: ServiceBroker, paint: Paint): Promise<string> {
  const services = broker.registry.getServiceList({ withActions: true, onlyAvailable: true }) as {
    name: string;
    actions?: Record<string, unknown>;
  }[];
  // Replicas share their database: one of them answers for all.
  const having = (action: string) => [
    ...new Set(
      services.filter(({ name, actions = {} }) => `${name}.${action}` in actions).map(({ name }) => name),
    ),
  ];
  const [tellers, consumers] = [having("outboxLag").sort(), having("eventsLag").sort()];
  if (tellers.length + consumers.length === 0)
    return "no node hosts a service that tells or consumes events: is the shop running?";
  const ask = <Answer>(action: string) => broker.call<Answer, object>(action, {}, { timeout: TIMEOUT_MS });
  const rows = await Promise.all([
    ...tellers.map((name) =>
      ask<OutboxLag>(`${name}.outboxLag`).then(
        ({ readers, ...lag }) => [
          rowOf(name, "not published", lag),
          // Those that are there tell it themselves, exactly.
          ...readers
            .filter(({ consumer }) => !consumers.includes(consumer))
            .map(({ consumer, ...lag }) => rowOf(consumer, `${name}'s not taken, and it is away`, lag)),
        ],
        (err) => [failed(name, err)],
      ),
    ),
    ...consumers.map((name) =>
      ask<ConsumerLag[]>(`${name}.eventsLag`).then(
        (lags) => lags.map(({ topic, ...lag }) => rowOf(name, `${topic} not taken`, lag)),
        (err) => [failed(name, err)],
      ),
    ),
  ]);
  return table(["SERVICE", "WHAT", "EVENTS", "OLDEST"], rows.flat(), paint);
}

function rowOf(name: string, what: string, { events, seconds }: { [K in keyof Lag]: Lag[K] | null }): Row {
  if (events === null) return [name, what, { text: "unknown", colour: "red" }];
  const colour = seconds !== null && seconds > LATE_SECONDS ? ("red" as const) : undefined;
  const oldest = events > 0 && seconds !== null ? seconds * 1_000 : null;
  return [name, what, String(events), { text: age(oldest), colour }];
}

const failed = (name: string, err: unknown): Row => [name, { text: complaint(err), colour: "red" }];
