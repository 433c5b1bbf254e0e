/**
 * Readiness: may this node be sent requests? It must be started, not stopping, connected, know every service it is
 * configured for, and hear no local service that has a `health` action say otherwise.
 */
import type { ServiceBroker } from "moleculer";

export interface Readiness {
  status: "ready" | "not_ready";
  checks: Record<string, "ok" | "missing" | "failing" | "stopped">;
}

/** Readiness as JSON Schema. */
export const READINESS = {
  type: "object",
  required: ["status", "checks"],
  properties: {
    status: { enum: ["ready", "not_ready"] },
    checks: { type: "object", additionalProperties: { enum: ["ok", "missing", "failing", "stopped"] } },
  },
};

/** A check that takes longer is failing: probes time out after a second or two. */
const CHECK_MS_MAX = 1_000;

export async function readiness(broker: ServiceBroker, expected: readonly string[]): Promise<Readiness> {
  const { started, stopping, transit, registry } = broker as ServiceBroker & {
    stopping?: boolean;
    transit?: { connected: boolean };
  };
  const known = new Set(registry.getServiceList({ onlyAvailable: true }).map((service) => service.name));
  const checks: Readiness["checks"] = { node: started && !stopping ? "ok" : "stopped" };
  if (transit) checks.transport = transit.connected ? "ok" : "failing";
  await Promise.all(
    expected.map(async (service) => {
      checks[service] = known.has(service) ? await checkOf(broker, service) : "missing";
    }),
  );
  const ready = Object.values(checks).every((check) => check === "ok");
  return { status: ready ? "ready" : "not_ready", checks };
}

async function checkOf(broker: ServiceBroker, service: string): Promise<"ok" | "failing"> {
  const action = `${service}.health`;
  const isLocal = broker.registry.getActionList({ onlyLocal: true }).some((item) => item.name === action);
  if (!isLocal) return "ok";
  try {
    await broker.call(action, {}, { timeout: CHECK_MS_MAX });
    return "ok";
  } catch (err) {
    broker.logger.warn(`${action} says the service is not well`, err);
    return "failing";
  }
}
