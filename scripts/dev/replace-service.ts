/**
 * Puts a new version of a service in the place of the running one. The successor starts beside the old service, as a
 * replica would; then, within one turn of the event loop, it takes over the name, and the HTTP server where there is
 * one; the old service finishes what it has begun and stops. So no call meets a gap, and a successor that cannot start
 * changes nothing.
 */
import { createServer, type Server } from "node:http";
import type { Service, ServiceBroker, ServiceSchema } from "moleculer";

/** What the framework's types leave out. */
interface Hosted extends Service {
  _start(): Promise<void>;
  _stop(): Promise<void>;
  _serviceSpecification: object;
  /** The gateway's. */
  server?: Server;
  createServer?(): void;
}
interface Host {
  ServiceFactory: new (broker: ServiceBroker, schema: ServiceSchema) => Hosted;
  registry: { registerLocalService(specification: object): void };
}

export interface Replacement {
  service: Service;
  /** Resolves when the old service has stopped. */
  retired: Promise<void>;
}

/** Throws what kept the successor from starting; the old service then goes on. */
export async function replaceService(
  broker: ServiceBroker,
  service: Service,
  schema: ServiceSchema,
): Promise<Replacement> {
  const host = broker as unknown as Host;
  const old = service as Hosted;
  const isListening = old.server?.listening === true;
  // moleculer-web would listen on a port that is taken: by us.
  const settings = isListening ? { ...schema.settings, server: false } : schema.settings;
  const successor = new host.ServiceFactory(broker, { ...schema, ...(settings && { settings }) });
  try {
    if (isListening) successor.createServer?.();
    await successor._start();
  } catch (err) {
    remove(broker.services, successor);
    await successor._stop().catch(() => undefined);
    throw err;
  }
  remove(broker.services, old);
  broker.registry.unregisterService(old.fullName, broker.nodeID);
  host.registry.registerLocalService(successor._serviceSpecification);
  if (isListening) handOver(old, successor);
  return { service: successor, retired: old._stop() };
}

/** The socket stays open and its connections too; who answers on them is another. */
function handOver(old: Hosted, successor: Hosted): void {
  const server = old.server as Server;
  const unused = successor.server ?? createServer();
  for (const event of ["request", "checkExpectation", "clientError"]) {
    server.removeAllListeners(event);
    for (const listener of unused.listeners(event)) server.on(event, listener as () => void);
  }
  successor.server = server;
  old.server = unused;
}

function remove(services: Service[], service: Service): void {
  const at = services.indexOf(service);
  if (at !== -1) services.splice(at, 1);
}
