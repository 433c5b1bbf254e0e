/**
 * Payment's part for operators: what its rows say of a transaction, and how one is made final by hand. A committed
 * payment whose capture is still owed may be aborted too, because a capture can become impossible: its card is then
 * voided instead. What is captured or voided is final.
 */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { VoteReport } from "../../actors/protocol/reports.ts";
import { heuristicsOf } from "../../mixins/heuristics.ts";
import type { OperatedVotes } from "../../mixins/operated.mixin.ts";

const DESCRIBE = `
  select p.tx_id as "txId", p.state, (extract(epoch from now() - p.created_at) * 1000)::float8 as "ageMs", p.refusal,
    p.debt, null as enlisted, p.user_id as "userId", null as units,
    case when p.amount is not null then jsonb_build_object('amount', p.amount, 'currency', p.currency) end as money,
    null as event, ${heuristicsOf("p.tx_id")} as heuristics
  from payments p where p.tx_id = any($1::uuid[]) order by p.tx_id`;

// The old row is locked and read before it is changed. A commit leaves the debt to capture, an abort the debt to void,
// for the card caller to pay.
const CHANGE = `
  with before as materialized (
    select tx_id, state from payments
    where tx_id = $1 and (state = any($2::text[]) or ($3 = 'void' and state = 'committed' and debt = 'capture'))
    for no key update
  ),
  changed as (update payments p set state = $4, debt = $3 from before b where p.tx_id = b.tx_id)
  select state from before`;

export const operatedPayments: OperatedVotes = {
  async describe(db, txIds) {
    return (await db.query<VoteReport>({ text: DESCRIBE, values: [txIds] })).rows;
  },

  async unfinished(db, { after, limit }) {
    const { rows } = await db.query<{ tx_id: TxId }>({
      name: "unfinished-payments",
      text: `select tx_id from payments where (state in ('authorizing', 'prepared') or debt is not null) and tx_id > $1
             order by tx_id limit $2`,
      values: [after, limit],
    });
    return rows.map((row) => row.tx_id);
  },

  // An authorization under way is no yes: it may be aborted, and never committed.
  async change(tx, txId, outcome) {
    const { rows } = await tx.query<{ state: string }>({
      text: CHANGE,
      values:
        outcome === "commit"
          ? [txId, ["prepared"], "capture", "committed"]
          : [txId, ["authorizing", "prepared"], "void", "aborted"],
    });
    return rows[0]?.state;
  },
};
