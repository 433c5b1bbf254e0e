/** The console's command `actors`: every mailbox and loop, of this node and of every other one of the shop. */
import type { ServiceBroker } from "moleculer";
import type { ActorState } from "../../actors/supervisor.ts";
import { complaint } from "./complaint.ts";
import { type Cell, type Paint, table } from "./paper.ts";

const TIMEOUT_MS = 3_000;

interface Host {
  nodeID: string;
  name: string;
}

export async function actors(broker: ServiceBroker, paint: Paint): Promise<string> {
  const hosts = hostsOf(broker);
  if (hosts.length === 0) return "no node hosts an actor: is the shop running?";
  const rows = await Promise.all(hosts.map((host) => rowsOf(broker, host)));
  return table(
    [
      "NODE",
      "SERVICE",
      "ACTOR",
      "STATE",
      "WAITING",
      "IN FLIGHT",
      "MESSAGES",
      "PER BATCH",
      "WAIT MS",
      "REFUSED",
    ],
    rows.flat(),
    paint,
  );
}

function hostsOf(broker: ServiceBroker): Host[] {
  const services = broker.registry.getServiceList({ withActions: true, onlyAvailable: true }) as (Host & {
    actions?: Record<string, unknown>;
  })[];
  return services
    .filter(({ name, actions = {} }) => `${name}.actors` in actions)
    .sort((a, b) => `${a.nodeID} ${a.name}`.localeCompare(`${b.nodeID} ${b.name}`));
}

async function rowsOf(broker: ServiceBroker, { nodeID, name }: Host): Promise<(string | Cell)[][]> {
  try {
    const states = await broker.call<ActorState[], object>(
      `${name}.actors`,
      {},
      { nodeID, timeout: TIMEOUT_MS },
    );
    return states.map((state) => [nodeID, name, state.name, stateCell(state), ...figures(state)]);
  } catch (err) {
    return [[nodeID, name, "", { text: complaint(err), colour: "red" }]];
  }
}

const stateCell = ({ failing, kind, lastError }: ActorState): Cell =>
  failing
    ? { text: `FAILING${lastError ? `: ${lastError}` : ""}`, colour: "red" }
    : { text: lastError ? `${kind}, last failed: ${lastError}` : kind, colour: undefined };

function figures({ stats }: ActorState): string[] {
  if (!stats) return [];
  const { depth, inFlight, messages, batches, waitMsTotal, overloaded, expired } = stats;
  return [
    String(depth),
    String(inFlight),
    String(messages),
    batches > 0 ? (messages / batches).toFixed(1) : "",
    messages > 0 ? (waitMsTotal / messages).toFixed(1) : "",
    overloaded + expired > 0 ? String(overloaded + expired) : "",
  ];
}
