/**
 * The console's command `drain`: takes a node, or one service of it, out of the shop. It is told to nobody any more,
 * finishes what it has begun and stops hosting; the process stays, for whoever started it to end. What would leave the
 * shop without a service is refused unless it is asked for by name.
 */
import type { ServiceBroker } from "moleculer";
import { Mistake } from "./transactions.ts";

export interface DrainArgs {
  target?: string | undefined;
  service?: string | undefined;
  options: { last?: boolean | undefined };
}

/** Above what a node grants its own calls, its gateway and its manager together. */
const TIMEOUT_MS = 60_000;
const USAGE = "drain NODE [SERVICE] [--last], or drain SERVICE where one node hosts it; cluster lists both";

interface Hosted {
  name: string;
  nodeID: string;
}

export async function drain(broker: ServiceBroker, args: DrainArgs): Promise<string> {
  const hosted = (broker.registry.getServiceList({ onlyAvailable: true }) as Hosted[]).filter(
    ({ name }) => name !== "node" && !name.startsWith("$"),
  );
  const { nodeID, service } = chosen(hosted, args);
  const leaving = hosted.filter((each) => each.nodeID === nodeID && (!service || each.name === service));
  const lost = leaving.map(({ name }) => name).filter((name) => !isElsewhere(hosted, name, nodeID));
  if (lost.length > 0 && !args.options.last)
    throw new Mistake(`no other node hosts ${lost.join(", ")}; if that is meant: --last`);
  await broker.call("node.drain", service ? { service } : {}, { nodeID, timeout: TIMEOUT_MS });
  return service
    ? `${nodeID} hosts ${service} no more`
    : `${nodeID} hosts nothing any more; its process may be ended`;
}

function chosen(
  hosted: readonly Hosted[],
  { target, service }: DrainArgs,
): { nodeID: string; service?: string } {
  if (target === undefined) throw new Mistake(USAGE);
  if (hosted.some(({ nodeID }) => nodeID === target)) {
    if (service && !hosted.some(({ nodeID, name }) => nodeID === target && name === service))
      throw new Mistake(`${target} does not host ${service}; cluster lists what it does`);
    return { nodeID: target, ...(service && { service }) };
  }
  const [only, ...others] = hosted.filter(({ name }) => name === target);
  if (!only) throw new Mistake(`${target} is neither a node that hosts something nor a service; ${USAGE}`);
  if (others.length > 0)
    throw new Mistake(
      `${target} is hosted by ${[only, ...others].map(({ nodeID }) => nodeID).join(", ")}: say which, drain NODE ${target}`,
    );
  return { nodeID: only.nodeID, service: target };
}

const isElsewhere = (hosted: readonly Hosted[], name: string, nodeID: string): boolean =>
  hosted.some((each) => each.name === name && each.nodeID !== nodeID);
