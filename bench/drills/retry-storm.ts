/**
 * A client calls a service that calls another that is down, a thousand times, over NATS: how often is the last one
 * called? Retries that every caller makes for itself multiply. Twice: with the shop's options (without its breakers, too,
 * which would end a storm before it is one), and with the framework's retries, where one request is enough to see it.
 */
import { type BrokerOptions, type Context, Errors, ServiceBroker, type ServiceSchema } from "moleculer";
import { NATS_TRANSPORTER } from "../../mixins/nats.transporter.ts";
import shopOptions from "../../moleculer.config.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Drill } from "./drill.ts";

const FACTOR_MAX = 1.2;
const REQUESTS = 1_000;
const AT_ONCE = 50;
const NODES_KNOWN_MS_MAX = 10_000;

/** As somebody sets the framework up who switches on what it has. */
const STOCK: Partial<BrokerOptions> = {
  retryPolicy: {
    enabled: true,
    retries: 3,
    delay: 10,
    maxDelay: 100,
    factor: 2,
    check: (err: { retryable?: boolean }) => err.retryable === true,
  } as never,
  circuitBreaker: { enabled: false } as never,
};

const ARMS: Record<"shop" | "shopWithoutBreakers" | "framework", Partial<BrokerOptions>> = {
  shop: shopOptions,
  shopWithoutBreakers: { ...shopOptions, circuitBreaker: { enabled: false } as never },
  framework: STOCK,
};

export const retryStorm: Drill = {
  name: "retry-storm",
  about: `a service two calls away is down: it gets at most ${FACTOR_MAX} times the client's requests`,
  takes: [],
  async run(site) {
    const nats = await startNats();
    site.onClose(() => nats.stop());
    const factors: Partial<Record<keyof typeof ARMS, number>> = {};
    for (const [arm, options] of Object.entries(ARMS) as [keyof typeof ARMS, Partial<BrokerOptions>][]) {
      const hits = { count: 0 };
      const nodes = servicesOf(hits).map((services, i) =>
        nodeOf(`${arm}-${i}`, arm, nats.url, services, options),
      );
      site.onClose(() => Promise.all(nodes.map((node) => node.stop())));
      await Promise.all(nodes.map((node) => node.start()));
      const client = nodes[0] as ServiceBroker;
      await Promise.all(nodes.map((node) => node.waitForServices(["middle", "leaf"], NODES_KNOWN_MS_MAX)));
      const requests = arm === "framework" ? 1 : REQUESTS;
      for (let sent = 0; sent < requests; sent += AT_ONCE)
        await Promise.allSettled(
          Array.from({ length: Math.min(AT_ONCE, requests - sent) }, () => client.call("middle.ask")),
        );
      factors[arm] = hits.count / requests;
      site.say(`${arm}: ${hits.count} calls of the leaf for ${requests} of the client`);
    }
    const { shop = 0, shopWithoutBreakers = 0, framework = 0 } = factors;
    return {
      requests: REQUESTS,
      factorShop: shop,
      factorShopWithoutBreakers: shopWithoutBreakers,
      factorFramework: framework,
      // A storm that does not show with the framework would prove nothing of the shop.
      ok: shop > 0 && shop <= FACTOR_MAX && shopWithoutBreakers <= FACTOR_MAX && framework > FACTOR_MAX,
    };
  },
};

/** By node: the client, the one between, the one that is down. */
function servicesOf(hits: { count: number }): ServiceSchema[][] {
  const middle: ServiceSchema = {
    name: "middle",
    actions: { ask: { idempotent: true, handler: (ctx: Context) => ctx.call("leaf.ask") } },
  };
  const leaf: ServiceSchema = {
    name: "leaf",
    actions: {
      ask: {
        idempotent: true,
        handler() {
          hits.count++;
          throw new Errors.MoleculerRetryableError("the database is down", 503, "unavailable", {});
        },
      },
    },
  };
  return [[], [middle], [leaf]];
}

function nodeOf(
  nodeID: string,
  namespace: string,
  url: string,
  services: ServiceSchema[],
  options: Partial<BrokerOptions>,
): ServiceBroker {
  const broker = new ServiceBroker({
    ...options,
    namespace,
    nodeID,
    logger: false,
    transporter: { type: NATS_TRANSPORTER, options: { url } },
    skipProcessEventRegistration: true,
  });
  for (const service of services) broker.createService(service);
  return broker;
}
