/**
 * Readiness: may this node be sent requests? It must be started, not stopping, connected, have seen every service that
 * it hosts or calls, reach the databases of its own services, and hear no local service that has a `health` action say
 * otherwise. A service of other nodes that has been seen and went `away` does not count: what needs it answers 503, and
 * all else goes on.
 */
import type { ServiceBroker } from "moleculer";
import type { Queryable } from "./database.mixin.ts";

const CHECKS = ["ok", "away", "missing", "failing", "stopped"] as const;
type Check = (typeof CHECKS)[number];

export interface Readiness {
  status: "ready" | "not_ready";
  checks: Record<string, Check>;
}

/** Readiness as JSON Schema. */
export const READINESS = {
  type: "object",
  required: ["status", "checks"],
  properties: {
    status: { enum: ["ready", "not_ready"] },
    checks: { type: "object", additionalProperties: { enum: [...CHECKS] } },
  },
};

/** A check that takes longer is failing: probes time out after a second or two. */
const CHECK_MS_MAX = 1_000;

/** What each broker has seen since its start. */
const seenBy = new WeakMap<ServiceBroker, Set<string>>();

export async function readiness(broker: ServiceBroker, expected: readonly string[]): Promise<Readiness> {
  const { started, stopping, transit, registry } = broker as ServiceBroker & {
    stopping?: boolean;
    transit?: { connected: boolean };
  };
  const known = new Set(registry.getServiceList({ onlyAvailable: true }).map((service) => service.name));
  const seen = seenBy.get(broker) ?? new Set();
  seenBy.set(broker, seen);
  const checks: Readiness["checks"] = { node: started && !stopping ? "ok" : "stopped" };
  if (transit) checks.transport = transit.connected ? "ok" : "failing";
  await Promise.all(
    expected.map(async (service) => {
      if (known.has(service)) {
        seen.add(service);
        checks[service] = await checkOf(broker, service);
      } else {
        checks[service] = seen.has(service) ? "away" : "missing";
      }
    }),
  );
  const ready = Object.values(checks).every((check) => check === "ok" || check === "away");
  return { status: ready ? "ready" : "not_ready", checks };
}

async function checkOf(broker: ServiceBroker, service: string): Promise<"ok" | "failing"> {
  const local = broker.getLocalService(service) as unknown as { db?: Queryable } | undefined;
  if (!local) return "ok";
  const action = `${service}.health`;
  const hasHealth = broker.registry.getActionList({ onlyLocal: true }).some((item) => item.name === action);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer in ${CHECK_MS_MAX} ms`)), CHECK_MS_MAX);
  try {
    const checks = [
      local.db?.query({ name: "ready", text: "select 1" }),
      hasHealth && broker.call(action, {}, { timeout: CHECK_MS_MAX }),
    ];
    await Promise.race([Promise.all(checks), late.promise]);
    return "ok";
  } catch (err) {
    broker.logger.warn(`${service} says that it is not well`, err);
    return "failing";
  } finally {
    clearTimeout(timer);
  }
}
