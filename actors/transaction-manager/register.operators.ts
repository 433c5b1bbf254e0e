/** The register's part for operators: its account of transactions, and the record of what operators proposed to it. */
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Outcome, TxId } from "../protocol/messages.ts";
import type { DecisionReport, ForcedDecision, Page, RegisterReport } from "../protocol/reports.ts";

export async function describeDecisions(db: Queryable, txIds: TxId[]): Promise<RegisterReport> {
  const { rows: decisions } = await db.query<DecisionReport>({
    name: "describe-decisions",
    text: `
      select tx_id as "txId", outcome, participants, array(select distinct unnest(acknowledged) order by 1) as acknowledged,
        heuristic, settled, (extract(epoch from now() - decided_at) * 1000)::float8 as "ageMs"
      from decisions where tx_id = any($1::uuid[])`,
    values: [txIds],
  });
  const { rows } = await db.query<Omit<ForcedDecision, "at"> & { at: Date }>({
    name: "describe-forced",
    text: `select tx_id as "txId", outcome, forced_by as by, reason, forced_at as at, stored
           from forced_decisions where tx_id = any($1::uuid[]) order by tx_id, id`,
    values: [txIds],
  });
  return { decisions, forced: rows.map((row) => ({ ...row, at: row.at.toISOString() })) };
}

/** Commits above `after` that some participant has not acknowledged, oldest transaction first. */
export async function findUndelivered(db: Queryable, { after, limit }: Page): Promise<TxId[]> {
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: "undelivered",
    text: "select tx_id from decisions where not settled and tx_id > $1 order by tx_id limit $2",
    values: [after, limit],
  });
  return rows.map((row) => row.tx_id);
}

export interface Force {
  txId: TxId;
  outcome: Outcome;
  by: string;
  reason: string;
}

/** Records who proposes what and why; answers the record's id, for `recordAnswer`. */
export async function recordForce(db: Queryable, { txId, outcome, by, reason }: Force): Promise<number> {
  const { rows } = await db.query<{ id: number }>({
    name: "record-force",
    text: "insert into forced_decisions (tx_id, outcome, forced_by, reason) values ($1, $2, $3, $4) returning id",
    values: [txId, outcome, by, reason],
  });
  return (rows[0] as { id: number }).id;
}

export async function recordAnswer(db: Queryable, id: number, stored: Outcome | "forgotten"): Promise<void> {
  await db.query({
    name: "record-forced",
    text: "update forced_decisions set stored = $2 where id = $1",
    values: [id, stored],
  });
}
