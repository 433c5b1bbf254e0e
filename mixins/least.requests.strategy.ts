/**
 * A balancer that sends a call to the node that owes this one the fewest answers, and of equals to the one that was
 * picked longest ago. A node that has become slow (a throttled container, a neighbour on its processor, a full disk)
 * keeps what it has and gets no more until the others owe as many; round robin goes on sending it its share until a
 * breaker opens.
 */
import { type Context, type Middleware, type ServiceBroker, Strategies } from "moleculer";
import { isFault } from "./breaker.middleware.ts";
import type { Endpoint, Wrap } from "./middleware.ts";

/**
 * For how long a call that its node did not do counts as owed. One that refuses at once would otherwise look like the
 * fastest of all and get every call.
 */
const FAILED_MS = 1_000;

/** Besides faults: it has no room, it has gone, or the action is not there any more. */
const NOT_DONE = new Set(["overloaded", "REQUEST_REJECTED", "SERVICE_NOT_FOUND", "SERVICE_NOT_AVAILABLE"]);

/** Of each broker: how many answers each node owes it. */
const owed = new WeakMap<ServiceBroker, Map<string, number>>();

export class LeastRequestsStrategy extends Strategies.Base {
  #turn = 0;
  /** In which turn each was picked last. */
  readonly #picked = new WeakMap<Endpoint, number>();

  // biome-ignore lint/suspicious/noExplicitAny: the framework's endpoints, which its types do not describe
  override select(list: any[]): any {
    const counts = owed.get(this.broker);
    let best: Endpoint | undefined;
    let least = Number.POSITIVE_INFINITY;
    let longestAgo = Number.POSITIVE_INFINITY;
    for (const endpoint of list as Endpoint[]) {
      const count = counts?.get(endpoint.id) ?? 0;
      const turn = this.#picked.get(endpoint) ?? 0;
      if (count > least || (count === least && turn >= longestAgo)) continue;
      best = endpoint;
      least = count;
      longestAgo = turn;
    }
    if (best) this.#picked.set(best, ++this.#turn);
    return best;
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
  const remoteAction: Wrap = (handler) => async (ctx: Context) => {
    const nodeID = ctx.nodeID as string;
    count(nodeID, 1);
    try {
      const result = await handler(ctx);
      count(nodeID, -1);
      return result;
    } catch (err) {
      if (isFault(err) || NOT_DONE.has((err as { type?: string } | null)?.type ?? ""))
        setTimeout(count, FAILED_MS, nodeID, -1).unref();
      else count(nodeID, -1);
      throw err;
    }
  };
  return { name: "LeastRequests", remoteAction } as Middleware;
}
