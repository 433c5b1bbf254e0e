/**
 * What the registry knows before anybody is asked. Work that is tried again and again while a service is away says so
 * itself, once; the framework would warn of each try.
 */
import type { ServiceBroker } from "moleculer";
import { ShopError } from "../lib/errors.ts";

/** Throws where no node that is there serves the action. */
export function expectServed(broker: Pick<ServiceBroker, "registry">, action: string): void {
  if (!broker.registry.getActionEndpoints(action)?.hasAvailable())
    throw new ShopError("unavailable", `No node serves ${action}.`, { retryAfter: 1 });
}
