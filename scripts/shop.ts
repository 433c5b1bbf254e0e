/**
 * Builds the shop's broker with the services of this node, for npm start, the cluster's workers, the benchmarks and
 * the tests alike. The caller starts and stops it. No service waits for another in its start, so nodes that start
 * together cannot wait in a circle; a node is not ready before it has seen what its services call.
 */
import { readdirSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { type BrokerOptions, type Context, ServiceBroker, type ServiceSchema } from "moleculer";
import { config, expectedBy, type ServiceName } from "../config/index.ts";
import { STEPS_MS_MAX, stopStep } from "../lib/stop.ts";
import { Grpc } from "../mixins/grpc.middleware.ts";
import options from "../moleculer.config.ts";
import node from "../services/node/node.service.ts";

/** Nodes that start together see each other within a second or two; after this it is worth a line. */
const MISSING_MS_MAX = 5_000;
/** A node that does not answer in this time is dead or paused: it calls nobody. */
const PONG_MS_MAX = STEPS_MS_MAX.leave;

/** The framework waits for calls once more. */
const LEFT_MS_MAX = 500;

/** The service that answers for the node itself. */
const NODE = "node";

export interface ShopOptions {
  /** Which services this node hosts; those of the configuration by default. */
  services?: readonly ServiceName[];
  overrides?: Partial<BrokerOptions>;
}

/** Creates the broker and loads its services, started neither. Throws where a service has no file. */
export async function createShop({ services = config.services, overrides = {} }: ShopOptions = {}) {
  const schemas = (await Promise.all(services.map(loadServices))).flat();
  const grpc = new Grpc(config.grpcPort);
  const middlewares = [grpc.middleware, ...(options.middlewares ?? [])];
  const broker = new ShopBroker({ ...options, middlewares, ...overrides });
  broker.grpc = grpc;
  broker.expected = expectedBy(services, config);
  for (const schema of [...schemas, node]) broker.createService(schema);
  // All is loaded now, and no other node calls this one yet. Left to the exit, a thousand new files would be part of
  // the stop, and on a disk that makes them slowly its time would be over before them. Nothing where nothing is kept.
  broker.localBus.once("$broker.started", () => flushCompileCache());
  return broker;
}

/**
 * A broker that never ends the process by itself. The framework exits where a port is taken, among others; this one
 * fails its start, or tells `onFatal` later, so that whoever started more than a broker can stop it too.
 */
export class ShopBroker extends ServiceBroker {
  /** Called with what makes going on impossible, after the start. Without it, the error is thrown. */
  onFatal: ((fault: Error) => void) | undefined;
  grpc: Grpc | undefined;
  /** Services that this node hosts or calls. */
  expected: readonly ServiceName[] = [];
  #missingTimer: NodeJS.Timeout | undefined;
  #failStart: ((fault: Error) => void) | undefined;

  override async start(): Promise<void> {
    const failed = new Promise<never>((_, reject) => {
      this.#failStart = reject;
    });
    try {
      await Promise.race([super.start(), failed]);
    } finally {
      this.#failStart = undefined;
    }
    await this.#announce();
    if (this.transit) this.#sayWhatIsMissing(performance.now());
  }

  /** A start that waits for a message server does not end by itself. What has got further is left alone. */
  giveUpConnecting(): void {
    if (this.transit && !(this.transit as unknown as { isReady: boolean }).isReady)
      this.#failStart?.(new Error("stopped before the message server was reached"));
  }

  /** Until nothing is: a node that waits for another must not look like one that hangs. */
  #sayWhatIsMissing(since: number): void {
    const known = new Set(this.registry.getServiceList({ onlyAvailable: true }).map(({ name }) => name));
    const missing = this.expected.filter((name) => !known.has(name));
    if (missing.length === 0 || !this.started) return;
    const waitedMs = performance.now() - since;
    if (waitedMs > MISSING_MS_MAX)
      this.logger.warn(
        `not ready for ${Math.round(waitedMs / 1000)} s: no node hosts ${missing.join(", ")}; start one, or check that TRANSPORTER and NAMESPACE are the same there`,
      );
    this.#missingTimer = setTimeout(() => this.#sayWhatIsMissing(since), MISSING_MS_MAX).unref();
  }

  /**
   * Tells other nodes what this one hosts, and resolves when they know: the framework does it a moment after the start,
   * and nobody hears when. A node answers a ping after what was sent to it before, and after what it has sent itself.
   */
  async #announce(): Promise<void> {
    if (!this.transit) return;
    await this.registry.discoverer.sendLocalNodeInfo();
    const others = this.registry.getNodeList({ onlyAvailable: true }).filter(({ id }) => id !== this.nodeID);
    if (others.length > 0)
      await this.ping(
        others.map(({ id }) => id),
        PONG_MS_MAX,
      );
  }

  /**
   * The framework stops all services at once. Requests must end first, and what they began must be carried out, while
   * those who carry it out are still there. Other nodes are told before anything else, and choose another replica.
   */
  override async stop(): Promise<void> {
    await this.#finish();
    // What has not ended by now was waited for.
    const { tracking } = this.options;
    this.options.tracking = {
      ...tracking,
      shutdownTimeout: Math.min(tracking?.shutdownTimeout ?? 0, LEFT_MS_MAX),
    };
    await super.stop();
  }

  /** Takes the node, or one service of it, out: nobody calls it any more, it finishes and is gone. The broker stays. */
  async drain(name?: string): Promise<void> {
    if (name === undefined) {
      await this.#finish();
      const hosted = this.services.filter(({ name }) => name !== NODE && !name.startsWith("$"));
      // All at once: each that is destroyed has the others told again what is left.
      for (const { fullName } of hosted) this.registry.unregisterService(fullName, this.nodeID);
      await Promise.all(hosted.map((service) => this.destroyService(service)));
      await this.#announce();
      return;
    }
    const service = this.getLocalService(name);
    if (!service) throw new Error(`this node does not host ${name}`);
    this.registry.unregisterService(service.fullName, this.nodeID);
    this.servicesChanged(true);
    await this.#announce();
    await this.#settle(name);
    await this.destroyService(service);
  }

  async #finish(): Promise<void> {
    this.started = false; // readiness fails from here on
    // Beside all that follows; its service waits for it when it is stopped.
    void this.#settle("notification");
    clearTimeout(this.#missingTimer);
    if (this.transit?.connected) await this.#leave();
    const over = new AbortController();
    const waitsFor = () => this.#running().join(", ") || "clients";
    await stopStep("calls", this.logger, this.#endCalls(over.signal), waitsFor);
    over.abort();
    await this.#settle("transaction-manager");
  }

  async #endCalls(over: AbortSignal): Promise<void> {
    await Promise.all([this.#settle("api"), this.grpc?.drain()]);
    // Nobody sends more, so what is running ends: calls of other nodes, which need our mailboxes and theirs.
    while (this.#running().length > 0 && !over.aborted) await sleep(5);
  }

  /** The names of the actions that run here, or are waited for. */
  #running(): string[] {
    return [this, ...this.services].flatMap(trackedOf);
  }

  async #settle(name: string): Promise<void> {
    const service = this.getLocalService(name) as unknown as { drain?(): Promise<void> } | undefined;
    await service?.drain?.();
  }

  /** Resolves when nobody will call this node any more, and all that was called before has arrived. */
  async #leave(): Promise<void> {
    this.registry.regenerateLocalRawInfo(true, true);
    await this.#announce();
  }

  override fatal(message: string, cause?: Error): void {
    const fault = new Error(message, { cause });
    // The framework's constructor may call this, before our fields exist.
    if (!(#failStart in this)) throw fault;
    if (this.#failStart) this.#failStart(fault);
    else if (this.onFatal) this.onFatal(fault);
    else throw fault;
  }
}

/** The names of calls under way, but for the one that asks for the end of all calls. */
const trackedOf = (tracker: object) =>
  ((tracker as { _trackedContexts?: Context[] })._trackedContexts ?? [])
    .map(({ action, eventName }) => action?.name ?? eventName ?? "")
    .filter((name) => name !== `${NODE}.drain`);

/** A folder may hold more than one service: the transaction manager's has the operators' beside it. */
async function loadServices(name: ServiceName): Promise<ServiceSchema[]> {
  const folder = `${name === "transaction-manager" ? "actors" : "services"}/${name}`;
  const url = new URL(`../${folder}/`, import.meta.url);
  const files = readdirSync(url).filter((file) => file.endsWith(".service.ts"));
  if (files.length === 0) throw new Error(`${folder} has no service; leave ${name} out of SERVICES`);
  return Promise.all(
    files.map(async (file) => {
      const { default: schema } = (await import(new URL(file, url).href)) as { default?: ServiceSchema };
      if (!schema?.name) throw new Error(`${folder}/${file} has no service schema as its default export`);
      return schema;
    }),
  );
}
