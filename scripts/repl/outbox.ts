/** The console's command `outbox`: what each service's outbox holds unpublished, and for how long. */
import type { ServiceBroker } from "moleculer";
import type { OutboxLag } from "../../mixins/outbox.mixin.ts";
import { complaint } from "./complaint.ts";
import { age, type Cell, type Paint, table } from "./paper.ts";

const TIMEOUT_MS = 3_000;
/** The relay runs four times a second: what is older is held up by something. */
const LATE_MS = 10_000;

export async function outbox(broker: ServiceBroker, paint: Paint): Promise<string> {
  const services = broker.registry.getServiceList({ withActions: true, onlyAvailable: true }) as {
    name: string;
    actions?: Record<string, unknown>;
  }[];
  // Replicas share their outbox: one of them answers for all.
  const names = new Set(
    services.filter(({ name, actions = {} }) => `${name}.outboxLag` in actions).map(({ name }) => name),
  );
  if (names.size === 0) return "no node hosts a service with an outbox: is the shop running?";
  const rows = await Promise.all([...names].sort().map((name) => rowOf(broker, name)));
  return table(["SERVICE", "UNPUBLISHED", "OLDEST"], rows, paint);
}

async function rowOf(broker: ServiceBroker, name: string): Promise<(string | Cell)[]> {
  try {
    const { unpublished, oldestMs } = await broker.call<OutboxLag, object>(
      `${name}.outboxLag`,
      {},
      { timeout: TIMEOUT_MS },
    );
    const colour = oldestMs !== null && oldestMs > LATE_MS ? ("red" as const) : undefined;
    return [name, String(unpublished), { text: age(oldestMs), colour }];
  } catch (err) {
    return [name, { text: complaint(err), colour: "red" }];
  }
}
