/** Brokers with the shop's own options and two stand-in actions: one small answer, and the votes of a batch. */
import { ServiceBroker, type ServiceSchema } from "moleculer";
import type { PrepareEntry } from "../../actors/protocol/messages.ts";
import { newId } from "../../lib/ids.ts";
import { Grpc } from "../../mixins/grpc.middleware.ts";
import { NATS_TRANSPORTER } from "../../mixins/nats.transporter.ts";
import options from "../../moleculer.config.ts";

const PRODUCT = {
  id: newId(),
  sku: "MUG-1",
  name: "A mug of some length",
  description: "",
  price: { amount: 990, currency: "EUR" },
  stock: 100,
  available: 98,
  version: 3,
  createdAt: new Date(0).toISOString(),
  updatedAt: new Date(0).toISOString(),
};

/** A batch as the transaction manager sends it to product: three lines each. */
export const BATCH: PrepareEntry[] = Array.from({ length: 100 }, () => ({
  txId: newId(),
  hash: "x".repeat(43),
  budgetMs: 3_000,
  participants: ["order", "product", "payment"],
  request: {
    currency: "EUR",
    lines: Array.from({ length: 3 }, () => ({ productId: newId(), quantity: 1, unitPrice: 990 })),
  },
}));

const remote: ServiceSchema = {
  name: "remote",
  actions: {
    get: {
      grpc: "shop.v1.Products/GetProduct",
      auth: "none",
      params: { id: "uuid" },
      handler: () => PRODUCT,
    },
    prepare: {
      grpc: "shop.v1.Participant/Prepare",
      auth: "none",
      params: { entries: { type: "array", min: 1 } },
      handler: ({ params }: { params: { entries: PrepareEntry[] } }) =>
        params.entries.map(() => ({ kind: "yes" })),
    },
  },
} as ServiceSchema;

export interface NodeOptions {
  /** No URL: a broker alone, in process. */
  url?: string;
  namespace: string;
  nodeID: string;
  hosts: boolean;
  /** Without, calls go over NATS. */
  streams?: boolean;
}

export function openNode({ url, namespace, nodeID, hosts, streams = true }: NodeOptions) {
  const grpc = streams ? new Grpc(0) : undefined;
  const broker = new ServiceBroker({
    ...options,
    logger: false,
    namespace,
    nodeID,
    transporter: url === undefined ? null : { type: NATS_TRANSPORTER, options: { url } },
    middlewares: [...(grpc ? [grpc.middleware] : []), ...(options.middlewares ?? [])],
  } as never);
  if (hosts) broker.createService(remote);
  return { broker, grpc };
}
