/** Which groups of workers make up a cluster: by default two gateways and one process for each other service. */
import { SERVICES, type ServiceName } from "../../config/index.ts";

export type Scale = Readonly<Partial<Record<ServiceName, number>>>;

export interface GroupPlan {
  name: ServiceName;
  services: readonly ServiceName[];
  replicas: number;
}

/** More processes than that share one machine's cores and its database's connections badly. */
const REPLICAS_MAX = 16;

/** Reads `product=2,order=2`. Throws one Error that names every fault. */
export function parseScale(text: string): Scale {
  const scale: Partial<Record<ServiceName, number>> = {};
  const faults: string[] = [];
  for (const part of text.split(",").filter((each) => each !== "")) {
    const [name = "", count = ""] = part.split("=").map((each) => each.trim());
    if (!(SERVICES as readonly string[]).includes(name))
      faults.push(`${part}: there is no service ${name}, only ${SERVICES.join(", ")}`);
    else if (!/^\d+$/.test(count) || Number(count) < 1 || Number(count) > REPLICAS_MAX)
      faults.push(`${part}: expected a number of processes from 1 to ${REPLICAS_MAX}`);
    else scale[name as ServiceName] = Number(count);
  }
  if (faults.length > 0)
    throw new Error(`--scale cannot be used:\n${faults.map((f) => `  - ${f}`).join("\n")}`);
  return scale;
}

/**
 * Each order node hosts a transaction manager, which its orders then prefer (a call to one's own node costs no hop),
 * unless managers are placed by a scale of their own. In the order in which a rolling restart goes: gateways last.
 */
export function planOf(scale: Scale): GroupPlan[] {
  const names = [...SERVICES].filter(
    (name) => name !== "api" && (name !== "transaction-manager" || scale[name]),
  );
  return [...names, "api" as const].map((name) => ({
    name,
    services: name === "order" && !scale["transaction-manager"] ? ["order", "transaction-manager"] : [name],
    replicas: scale[name] ?? (name === "api" ? 2 : 1),
  }));
}
