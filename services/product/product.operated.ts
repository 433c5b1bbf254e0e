/** Product's part for operators: what its reservations say of a transaction, and how one is made final by hand. */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { VoteReport } from "../../actors/protocol/reports.ts";
import { heuristicsOf } from "../../mixins/heuristics.ts";
import type { OperatedVotes } from "../../mixins/operated.mixin.ts";
import { ABORT, COMMIT } from "./product.participant.ts";

const DESCRIBE = `
  select r.tx_id as "txId", r.state, (extract(epoch from now() - r.voted_at) * 1000)::float8 as "ageMs", r.refusal,
    null as debt, null as enlisted, null as "userId",
    (select sum(q)::bigint from unnest(r.quantities) as u (q)) as units,
    null as money, null as event, ${heuristicsOf("r.tx_id")} as heuristics
  from reservations r where r.tx_id = any($1::uuid[]) order by r.tx_id`;

export const operatedReservations: OperatedVotes = {
  async describe(db, txIds) {
    return (await db.query<VoteReport>({ text: DESCRIBE, values: [txIds] })).rows;
  },

  async unfinished(db, { after, limit }) {
    const { rows } = await db.query<{ tx_id: TxId }>({
      name: "unfinished-reservations",
      text: `select tx_id from reservations where state = 'prepared' and tx_id > $1 order by tx_id limit $2`,
      values: [after, limit],
    });
    return rows.map((row) => row.tx_id);
  },

  async change(tx, txId, outcome) {
    const { rowCount } = await tx.query({
      text: outcome === "commit" ? COMMIT : ABORT,
      values: [[txId], "prepared"],
    });
    return rowCount === 1 ? "prepared" : undefined;
  },
};
