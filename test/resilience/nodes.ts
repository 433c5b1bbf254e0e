/**
 * Nodes for the traps' tests: each scenario is run on the framework as it comes, where it must go wrong, and with the
 * shop's options, where it must not. Nodes of one process talk over the framework's in-memory transporter, which is
 * enough for whatever is not about the network itself.
 */
import { type BrokerOptions, ServiceBroker, type ServiceSchema } from "moleculer";
import shopOptions from "../../moleculer.config.ts";

export type Kind = "framework" | "shop";
export const KINDS: readonly Kind[] = ["framework", "shop"];

/** Short times, so that a test does not wait for what a shop waits for. */
const BREAKER = { enabled: true, threshold: 0.5, minRequestCount: 5, windowTime: 60, halfOpenTime: 10_000 };

/** As somebody sets the framework up who switches on what it has. */
const FRAMEWORK: Partial<BrokerOptions> = {
  circuitBreaker: BREAKER as never,
  retryPolicy: {
    enabled: true,
    retries: 3,
    delay: 5,
    maxDelay: 20,
    factor: 2,
    check: (err: { retryable?: boolean }) => err.retryable === true,
  } as never,
};
const SHOP: Partial<BrokerOptions> = {
  ...shopOptions,
  circuitBreaker: { ...shopOptions.circuitBreaker, ...BREAKER } as never,
};

export class Nodes {
  readonly kind: Kind;
  readonly namespace = `test-${Math.random().toString(36).slice(2)}`;
  #open: ServiceBroker[] = [];

  constructor(kind: Kind) {
    this.kind = kind;
  }

  /** A node that has started; nodes opened before it know its services, and it knows theirs. */
  async open(
    nodeID: string,
    services: ServiceSchema[],
    options: Partial<BrokerOptions> = {},
  ): Promise<ServiceBroker> {
    const broker = new ServiceBroker({
      transporter: "Fake",
      ...(this.kind === "shop" ? SHOP : FRAMEWORK),
      namespace: this.namespace,
      nodeID,
      logger: false,
      transit: { serviceChangedDebounceTime: 0 } as BrokerOptions["transit"],
      skipProcessEventRegistration: true,
      // What never answers would hold each stop for as long as a shop waits.
      ...(this.kind === "shop" ? { tracking: { enabled: true, shutdownTimeout: 50 } } : {}),
      ...("transporter" in options ? {} : { transporter: "Fake" }),
      ...options,
      registry: {
        ...(this.kind === "shop" ? shopOptions.registry : {}),
        stopDelay: 0,
        ...options.registry,
      } as BrokerOptions["registry"],
    });
    for (const service of services) broker.createService(service);
    this.#open.push(broker);
    await broker.start();
    await this.settle();
    return broker;
  }

  /** Lets the news travel: it is in memory, so a few turns of the loop are enough. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  async stop(): Promise<void> {
    for (const broker of this.#open.splice(0).reverse()) await broker.stop();
  }
}

/** Calls one after the other and counts the outcomes, by error type or "ok". */
export async function outcomesOf(
  times: number,
  call: (i: number) => Promise<unknown>,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    const outcome = await call(i).then(
      () => "ok",
      (err: { type?: string; message: string }) => err.type ?? err.message,
    );
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

/** An error as the framework or a database makes it. */
export const errorOf = (fields: { code?: unknown; type?: string; retryable?: boolean }): Error =>
  Object.assign(new Error("failed"), fields);
