/**
 * The table of heuristics, the same at every participant (its migrations): votes that an operator made final against or
 * without the register. A row is written in the transaction that changes the vote, and never deleted.
 */
import type { Outcome, TxId } from "../actors/protocol/messages.ts";
import type { Queryable } from "./database.mixin.ts";

/** The heuristics of a vote as a JSON array, oldest first; `key` is the SQL of its txId. */
export const heuristicsOf = (key: string): string => `
  (select coalesce(jsonb_agg(jsonb_build_object(
     'outcome', h.outcome, 'stateBefore', h.state_before, 'by', h.forced_by, 'reason', h.reason,
     'at', ${rfc3339("h.forced_at")}, 'stored', h.stored,
     'closed', case when h.closed_at is not null then jsonb_build_object(
       'by', h.closed_by, 'reason', h.closed_reason, 'at', ${rfc3339("h.closed_at")}) end
   ) order by h.id), '[]') from heuristics h where h.tx_id = ${key})`;

const rfc3339 = (time: string): string =>
  `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

/** The txIds with an open heuristic, above `after`. */
export async function findOpen(db: Queryable, after: TxId, limit: number): Promise<TxId[]> {
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: "open-heuristics",
    text: `select distinct tx_id from heuristics where closed_at is null and tx_id > $1 order by tx_id limit $2`,
    values: [after, limit],
  });
  return rows.map((row) => row.tx_id);
}

export interface Forced {
  txId: TxId;
  outcome: Outcome;
  stateBefore: string;
  by: string;
  reason: string;
  /** What the register said when it was asked just before; null where it could not be. */
  stored: Outcome | null;
}

export async function recordHeuristic(
  tx: Queryable,
  { txId, outcome, stateBefore, by, reason, stored }: Forced,
): Promise<void> {
  await tx.query({
    name: "record-heuristic",
    text: `insert into heuristics (tx_id, outcome, state_before, forced_by, reason, stored)
           values ($1, $2, $3, $4, $5, $6)`,
    values: [txId, outcome, stateBefore, by, reason, stored],
  });
}

/** Those the register has not been heard about yet, with what the operator made of them last. */
export async function findUnanswered(
  db: Queryable,
  limit: number,
): Promise<{ txId: TxId; outcome: Outcome }[]> {
  const { rows } = await db.query<{ tx_id: TxId; outcome: Outcome }>({
    name: "unanswered-heuristics",
    text: `select tx_id, (array_agg(outcome order by id desc))[1] as outcome
           from heuristics where stored is null group by tx_id order by tx_id limit $1`,
    values: [limit],
  });
  return rows.map((row) => ({ txId: row.tx_id, outcome: row.outcome }));
}

export async function recordStored(db: Queryable, txId: TxId, stored: Outcome): Promise<void> {
  await db.query({
    name: "answer-heuristic",
    text: "update heuristics set stored = $2 where tx_id = $1 and stored is null",
    values: [txId, stored],
  });
}

/** Closes what is open of a transaction whose outcome is known; answers how many that were. */
export async function closeHeuristics(
  db: Queryable,
  { txId, stored, by, reason }: { txId: TxId; stored: Outcome; by: string; reason: string },
): Promise<number> {
  const { rowCount } = await db.query({
    name: "close-heuristics",
    text: `update heuristics set stored = coalesce(stored, $2), closed_by = $3, closed_reason = $4, closed_at = now()
           where tx_id = $1 and closed_at is null`,
    values: [txId, stored, by, reason],
  });
  return rowCount ?? 0;
}
