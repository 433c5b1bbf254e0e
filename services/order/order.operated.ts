/** Order's part for operators: what its rows say of a transaction, and how one is made final by hand. */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { VoteReport } from "../../actors/protocol/reports.ts";
import { heuristicsOf } from "../../mixins/heuristics.ts";
import type { OperatedVotes } from "../../mixins/operated.mixin.ts";
import { ABORT, COMMIT_FIRST } from "./order.participant.ts";

// The outbox has no index on its key, which only an operator would use: the event is looked for one order at a time.
const EVENT = `
  (select jsonb_build_object('id', e.id, 'published', e.published_at is not null)
   from outbox e where e.key = o.id and e.type = 'order.confirmed')`;

const describe = (full: boolean): string => `
  select o.id as "txId", o.state, (extract(epoch from now() - o.created_at) * 1000)::float8 as "ageMs", o.refusal,
    null as debt, o.participants as enlisted, o.user_id as "userId",
    (select sum(l.quantity)::bigint
     from jsonb_to_recordset(case jsonb_typeof(o.lines) when 'array' then o.lines else '[]' end) as l (quantity bigint)
    ) as units,
    case when o.total is not null then jsonb_build_object('amount', o.total, 'currency', o.currency) end as money,
    ${full ? EVENT : "null"} as event, ${heuristicsOf("o.id")} as heuristics
  from orders o where o.id = any($1::uuid[]) order by o.id`;

export const operatedOrders: OperatedVotes = {
  async describe(db, txIds, full) {
    return (await db.query<VoteReport>({ text: describe(full), values: [txIds] })).rows;
  },

  async unfinished(db, { after, limit }) {
    const { rows } = await db.query<{ tx_id: TxId }>({
      name: "unfinished-orders",
      text: `select id as tx_id from orders where state = 'prepared' and id > $1 order by id limit $2`,
      values: [after, limit],
    });
    return rows.map((row) => row.tx_id);
  },

  async change(tx, txId, outcome) {
    const { rowCount } = await tx.query({
      text: outcome === "commit" ? COMMIT_FIRST : ABORT,
      // An operator's decision belongs to nobody's trace.
      values: outcome === "commit" ? [[txId], "prepared", null] : [[txId], "prepared"],
    });
    return rowCount === 1 ? "prepared" : undefined;
  },
};
