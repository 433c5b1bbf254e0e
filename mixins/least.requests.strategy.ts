/**
 * A balancer that sends a call to the node that owes this one the fewest answers, and of equals to the next in turn. One
 * that has become slow (a throttled container, a neighbour on its processor, a full disk) keeps what it has and gets no
 * more until the others owe as many; round robin goes on sending it its share until a breaker opens.
 */
import { type Context, type Middleware, type ServiceBroker, Strategies } from "moleculer";
import type { Endpoint, Wrap } from "./middleware.ts";

/**
 * For how long a call that failed counts as owed. A node that refuses at once would otherwise look like the fastest of
 * all and get every call.
 */
const FAILED_MS = 1_000;

/** Of each broker: how many answers each node owes it. */
const owed = new WeakMap<ServiceBroker, Map<string, number>>();

export class LeastRequestsStrategy extends Strategies.Base {
  #turn = 0;

  // biome-ignore lint/suspicious/noExplicitAny: the framework's endpoints, which its types do not describe
  override select(list: any[]): any {
    const counts = owed.get(this.broker);
    const owes = ({ id }: Endpoint): number => counts?.get(id) ?? 0;
    const endpoints = list as Endpoint[];
    const least = Math.min(...endpoints.map(owes));
    // The turn is among these: whoever follows one that is passed over would get its share, too.
    const equals = endpoints.filter((endpoint) => owes(endpoint) === least);
    return equals[this.#turn++ % equals.length];
  }
}

/** Counts for the strategy. Outside the time limit: who has given up a call is not owed its answer. */
export function leastRequestsMiddleware(broker: ServiceBroker): Middleware {
  const counts = new Map<string, number>();
  owed.set(broker, counts);
  const count = (nodeID: string, change: 1 | -1): void => {
    const now = (counts.get(nodeID) ?? 0) + change;
    // Node ids come and go with their processes.
    if (now > 0) counts.set(nodeID, now);
    else counts.delete(nodeID);
  };
  const remoteAction: Wrap = (handler) => (ctx: Context) => {
    const nodeID = ctx.nodeID as string;
    count(nodeID, 1);
    return handler(ctx).then(
      (result) => {
        count(nodeID, -1);
        return result;
      },
      (err) => {
        const { code } = (err ?? {}) as { code?: unknown };
        if (typeof code === "number" && code < 500) count(nodeID, -1);
        else setTimeout(count, FAILED_MS, nodeID, -1).unref();
        throw err;
      },
    );
  };
  return { name: "LeastRequests", remoteAction } as Middleware;
}
