/** The console's commands `cluster` and `breakers`: what every node says of itself, and who says nothing. */
import type { ServiceBroker } from "moleculer";
import type { NodeStatus } from "../../services/node/api.ts";
import { complaint } from "./complaint.ts";
import { type Cell, type Paint, table } from "./paper.ts";

const TIMEOUT_MS = 3_000;

interface Asked {
  nodeID: string;
  status: NodeStatus | undefined;
  /** Why there is no status. */
  reason: Cell;
}

export async function cluster(broker: ServiceBroker, paint: Paint): Promise<string> {
  const nodes = await askNodes(broker);
  if (nodes.length === 0) return "no node of the shop has been seen: is it running?";
  const rows = nodes.map(({ nodeID, status, reason }): (string | Cell)[] => {
    if (!status) return [nodeID, "", reason];
    const { pid, services, mailboxes, breakers } = status;
    const waiting = mailboxes.filter(({ depth, inFlight }) => depth + inFlight > 0);
    return [
      nodeID,
      String(pid),
      stateOf(status),
      hostedOf(services),
      waiting
        .map(({ service, name, depth, inFlight }) => `${service}.${name} ${depth}+${inFlight}`)
        .join(", ") || "empty",
      breakers.length > 0 ? { text: `${breakers.length} not closed`, colour: "yellow" } : "closed",
    ];
  });
  return table(
    ["NODE", "PID", "STATE", "SERVICES", "MAILBOXES (WAITING+IN FLIGHT)", "BREAKERS"],
    rows,
    paint,
  );
}

export async function breakers(broker: ServiceBroker, paint: Paint): Promise<string> {
  const nodes = await askNodes(broker);
  const rows = nodes.flatMap(({ nodeID, status, reason }): (string | Cell)[][] => {
    if (!status) return reason.colour === "red" ? [[nodeID, "", "", reason]] : [];
    return status.breakers.map(({ nodeID: of, action, state }) => [
      nodeID,
      of,
      action,
      { text: state, colour: state === "open" ? "red" : "yellow" },
    ]);
  });
  return rows.length > 0
    ? table(["CALLER", "CALLED NODE", "ACTION", "STATE"], rows, paint)
    : `every breaker of ${nodes.length} node(s) is closed`;
}

async function askNodes(broker: ServiceBroker): Promise<Asked[]> {
  const nodes = broker.registry.getNodeList({ withServices: true }) as unknown as {
    id: string;
    available: boolean;
    services: { name: string }[];
  }[];
  return Promise.all(
    nodes
      .toSorted((a, b) => a.id.localeCompare(b.id))
      .map(async ({ id: nodeID, available, services }): Promise<Asked> => {
        if (!available) return { nodeID, status: undefined, reason: { text: "away", colour: "red" } };
        // It leaves, or is an operator's console.
        if (!services.some(({ name }) => name === "node"))
          return { nodeID, status: undefined, reason: { text: "hosts nothing", colour: "yellow" } };
        try {
          const options = { nodeID, timeout: TIMEOUT_MS };
          return { nodeID, status: await broker.call("node.status", {}, options), reason: { text: "" } };
        } catch (err) {
          return { nodeID, status: undefined, reason: { text: complaint(err), colour: "red" } };
        }
      }),
  );
}

const hostedOf = (services: readonly string[]): string =>
  services.filter((name) => name !== "node" && !name.startsWith("$")).join(" ");

function stateOf({ status, checks }: NodeStatus): Cell {
  if (status === "ready") return { text: "ready", colour: "green" };
  const bad = Object.entries(checks).filter(([, check]) => check !== "ok" && check !== "away");
  return { text: `not ready: ${bad.map(([name, check]) => `${name} ${check}`).join(", ")}`, colour: "red" };
}
