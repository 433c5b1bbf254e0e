/** What an audit says: its types, and how a person reads it. */
import type { Explanation } from "./rules.ts";

export const INVARIANTS = {
  I1: "stock: adjustments = available + reserved + sold, none below 0",
  I2: "one captured payment per confirmed order, everybody agrees",
  I3: "every confirmed order is complete, every 201 is there",
  I4: "nothing is in doubt for long",
  I5: "one event per confirmed order, one effect per event",
} as const;
export type InvariantId = keyof typeof INVARIANTS;

export interface InvariantReport {
  id: InvariantId;
  ok: boolean;
  /** SKUs, confirmed orders, orders, transactions, events: how many were looked at. */
  checked: number;
  /** Short sentences with ids; at most VIOLATIONS_SHOWN_MAX, then one that counts the rest. */
  violations: string[];
}

export interface AuditReport {
  ok: boolean;
  /** Transactions that are unfinished and not just passing by: see audit.ts. */
  inDoubt: number;
  /** What those wait for, and how many of them. */
  doubts: Record<string, number>;
  invariants: InvariantReport[];
  /** Transactions that operators changed against or without the register, told apart from what nobody meant. */
  heuristics: HeuristicReport[];
  /** Unfinished in the first snapshots, those in doubt included. */
  inFlight: number;
  durationMs: number;
}

export interface HeuristicReport extends Explanation {
  txId: string;
}

const VIOLATIONS_SHOWN_MAX = 20;

export function invariantReport(
  id: InvariantId,
  checked: number,
  violations: readonly string[],
): InvariantReport {
  const shown = violations.slice(0, VIOLATIONS_SHOWN_MAX);
  const rest = violations.length - shown.length;
  if (rest > 0) shown.push(`... and ${rest} more`);
  return { id, ok: violations.length === 0, checked, violations: shown };
}

/** One line with exactly the members that scripts may rely on; `heuristics` only where there are any. */
export const auditJson = ({ ok, inDoubt, invariants, heuristics }: AuditReport): string =>
  JSON.stringify({ ok, inDoubt, invariants, ...(heuristics.length > 0 ? { heuristics } : {}) });

export function auditTable(report: AuditReport): string {
  const lines = report.invariants.map(({ id, ok, checked, violations }) =>
    [
      `${ok ? "ok      " : "VIOLATED"}  ${id}  ${INVARIANTS[id].padEnd(62)} ${String(checked).padStart(9)} checked`,
      ...violations.map((violation) => `            - ${violation}`),
    ].join("\n"),
  );
  for (const { txId, isOpen, participants, reasons, faults } of report.heuristics)
    lines.push(
      `heuristic ${isOpen ? "OPEN  " : "closed"} ${txId} at ${participants.join(", ")}: ${reasons.join("; ")}`,
      ...(isOpen ? [] : faults.map((fault) => `            - explained: ${fault}`)),
    );
  const { inFlight, inDoubt, durationMs, ok } = report;
  const doubts = Object.entries(report.doubts).map(([what, count]) => `${count} ${what}`);
  lines.push(
    `in flight at the snapshots: ${inFlight}; in doubt: ${inDoubt}${inDoubt > 0 ? ` (${doubts.join(", ")})` : ""}`,
    `${ok ? "The audit is clean" : "THE AUDIT FOUND VIOLATIONS"} (${(durationMs / 1000).toFixed(1)} s).`,
  );
  return lines.join("\n");
}
