/** The cluster's state as a table for people. */
import type { ClusterStatus, WorkerStatus } from "./cluster.ts";

const HEADER = ["service", "node", "pid", "state", "mailboxes", "breakers not closed"];

export function statusTable(status: ClusterStatus): string {
  const rows = [HEADER, ...status.workers.map(rowOf)];
  const widths = HEADER.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const failing = status.failing.map(({ service, reason }) => `${service} keeps crashing: ${reason}`);
  const events = status.kafkaBrokers ? `, events over Kafka at ${status.kafkaBrokers}` : "";
  return [`${status.url}, nodes over ${status.transporter}${events}`, "", ...lines, ...failing].join("\n");
}

function rowOf({ service, nodeID, pid, state, node }: WorkerStatus): string[] {
  const waiting = (node?.mailboxes ?? []).filter(({ depth, inFlight }) => depth + inFlight > 0);
  const mailboxes = waiting.map(({ name, depth, inFlight }) => `${name} ${depth}+${inFlight}`).join(" ");
  const breakers = (node?.breakers ?? [])
    .map(({ nodeID: of, action, state }) => `${action}@${of} ${state}`)
    .join(" ");
  return [
    service,
    nodeID,
    String(pid),
    stateOf(state, node),
    mailboxes || (node ? "empty" : "?"),
    breakers || "-",
  ];
}

function stateOf(state: string, node: WorkerStatus["node"]): string {
  if (state !== "ready") return state;
  if (!node) return "does not answer";
  if (node.status === "ready") return "ready";
  const bad = Object.entries(node.checks).filter(([, check]) => check !== "ok" && check !== "away");
  return `not ready: ${bad.map(([name, check]) => `${name} ${check}`).join(", ")}`;
}
