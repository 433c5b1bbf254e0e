/** A node with actions that declare `grpc`, for the streams' tests. */
import { type Context, Errors, type Middleware, ServiceBroker, type ServiceSchema } from "moleculer";
import { Grpc } from "../../../mixins/grpc.middleware.ts";
import { NATS_TRANSPORTER } from "../../../mixins/nats.transporter.ts";
import options from "../../../moleculer.config.ts";

export interface PeerOptions {
  url: string;
  namespace: string;
  nodeID: string;
  /** Whether it has the service; one without only calls. */
  hosts: boolean;
  middlewares?: Middleware[];
}

export interface Peer {
  broker: ServiceBroker;
  grpc: Grpc;
  /** Actions begun here. */
  begun: string[];
}

export function openPeer({ url, namespace, nodeID, hosts, middlewares = [] }: PeerOptions): Peer {
  const grpc = new Grpc(0);
  const broker = new ServiceBroker({
    ...options,
    logger: false,
    namespace,
    nodeID,
    transporter: { type: NATS_TRANSPORTER, options: { url } },
    // What never ends here need not be waited for.
    tracking: { enabled: true, shutdownTimeout: 100 },
    registry: { ...options.registry, preferLocal: false },
    middlewares: [grpc.middleware, ...(options.middlewares ?? []), ...middlewares],
  } as never);
  const begun: string[] = [];
  if (hosts) broker.createService(remote(broker, begun));
  return { broker, grpc, begun };
}

/** The method named is only the sign that a stream may carry the call. */
const OVER_STREAM = { grpc: "shop.v1.Products/Quote" };

function remote(broker: ServiceBroker, begun: string[]): ServiceSchema {
  return {
    name: "remote",
    actions: {
      echo: {
        ...OVER_STREAM,
        handler(ctx: Context<object, { left?: string }>) {
          ctx.meta.left = broker.nodeID;
          const { nodeID, requestID, caller, level, meta, headers } = ctx;
          return { params: ctx.params, from: nodeID, requestID, caller, level, meta: { ...meta }, headers };
        },
      },
      nothing: { ...OVER_STREAM, handler: () => undefined },
      strict: { ...OVER_STREAM, params: { id: "uuid" }, handler: () => "fine" },
      fail: {
        ...OVER_STREAM,
        handler() {
          throw new Errors.MoleculerRetryableError("out of mugs", 409, "NO_MUGS", { left: 0 });
        },
      },
      /** Never answers the first time; a repeat elsewhere does. */
      stall: {
        ...OVER_STREAM,
        idempotent: true,
        handler(ctx: Context<{ at: string }>) {
          begun.push("stall");
          return ctx.params.at === broker.nodeID ? new Promise(() => undefined) : broker.nodeID;
        },
      },
      /** What it leaves behind is not JSON: in meta, or in the error's data. */
      unsayable: {
        ...OVER_STREAM,
        handler(ctx: Context<{ where: "meta" | "data" }, { large?: bigint }>) {
          if (ctx.params.where === "data")
            throw new Errors.MoleculerError("out of numbers", 409, "NO_NUMBERS", { large: 1n });
          ctx.meta.large = 1n;
        },
      },
      once: { ...OVER_STREAM, handler: () => new Promise(() => begun.push("once")) },
      chain: {
        ...OVER_STREAM,
        async handler(ctx: Context) {
          begun.push("chain");
          await new Promise<void>((resolve) => broker.localBus.once("test.go", resolve));
          return ctx.call("remote.nothing").then(() => begun.push("next"));
        },
      },
      bytes: { ...OVER_STREAM, handler: (ctx: Context<{ text: string }>) => ctx.params.text.length },
    },
  } as ServiceSchema;
}
