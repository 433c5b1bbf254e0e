/**
 * What a node says of itself, for operators: its readiness, its mailboxes, its breakers; and how it is taken out. Every
 * node hosts it, whatever SERVICES says; it is called by `nodeID`, and not served over HTTP.
 */
import type { Context, ServiceBroker, ServiceSchema } from "moleculer";
import type { Supervisor } from "../../actors/supervisor.ts";
import { readiness } from "../../mixins/readiness.ts";
import type { BreakerView, MailboxView, NodeStatus } from "./api.ts";

/** What a shop's broker knows beyond the framework's. */
type ShopBroker = ServiceBroker & {
  expected?: readonly string[];
  breakers?(): BreakerView[];
  drain(service?: string): Promise<void>;
};

const node: ServiceSchema = {
  name: "node",

  actions: {
    status: {
      visibility: "public",
      idempotent: true,
      params: {},
      async handler(): Promise<NodeStatus> {
        const broker = this.broker as ShopBroker;
        return {
          nodeID: broker.nodeID,
          pid: process.pid,
          services: broker.services.map(({ name }) => name).filter((name) => !name.startsWith("$")),
          ...(await readiness(broker, broker.expected ?? [])),
          mailboxes: mailboxesOf(broker),
          breakers: (broker.breakers?.() ?? [])
            .filter(({ state }) => state !== "closed")
            .map(({ nodeID, action, state }) => ({ nodeID, action, state })),
        };
      },
    },

    /** Resolves when nothing is hosted any more, of the service or, without one, of the node. */
    drain: {
      visibility: "public",
      params: { service: { type: "string", optional: true } },
      async handler(ctx: Context<{ service?: string }>): Promise<void> {
        const { service } = ctx.params;
        this.logger.warn(`an operator takes ${service ?? "this node"} out`);
        await (this.broker as ShopBroker).drain(service);
      },
    },
  },
};

function mailboxesOf(broker: ServiceBroker): MailboxView[] {
  return broker.services.flatMap((service) => {
    const supervisor = (service as unknown as { supervisor?: Supervisor }).supervisor;
    return (supervisor?.states() ?? [])
      .filter(({ kind }) => kind === "mailbox")
      .map(({ name, failing, stats }) => ({
        service: service.name,
        name,
        depth: stats?.depth ?? 0,
        inFlight: stats?.inFlight ?? 0,
        failing,
      }));
  });
}

export default node;
