/**
 * The decision register in PostgreSQL: every SQL statement of the transaction manager. The register never fails over
 * to a replica that lacks an acknowledged commit, and is read on the primary only.
 */

import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Outcome, TxId } from "../protocol/messages.ts";
import type { Acknowledgement, Proposal, RegisterPort, UnacknowledgedCommit } from "./ports.ts";

/** Managers write in one order, so that they wait for each other but never in a circle. */
const byTxId = (a: { txId: TxId }, b: { txId: TxId }): number =>
  a.txId < b.txId ? -1 : a.txId > b.txId ? 1 : 0;

export function register(db: Queryable): RegisterPort {
  return {
    async decide(proposals) {
      // Sorted and unique: two managers insert in one order, and a txId proposed twice is decided once.
      const batch = [
        ...new Map(proposals.toReversed().map((proposal) => [proposal.txId, proposal])).values(),
      ].sort(byTxId);
      const { rows } = await db.query<{ decided_tx_id: TxId; stored_outcome: Outcome }>({
        name: "decide",
        text: "select decided_tx_id, stored_outcome from decide($1::uuid[], $2::text[], $3::text[])",
        values: [
          batch.map((proposal) => proposal.txId),
          batch.map((proposal) => proposal.outcome),
          batch.map((proposal) => proposal.participants.join(",")),
        ],
      });
      const stored = new Map(rows.map((row) => [row.decided_tx_id, row.stored_outcome]));
      return proposals.map((proposal: Proposal) => stored.get(proposal.txId) ?? "forgotten");
    },

    async read(txIds) {
      const { rows } = await db.query<{ tx_id: TxId; outcome: Outcome | null; low: boolean }>({
        name: "read-decisions",
        text: `
          select asked.tx_id, d.outcome, asked.tx_id <= w.tx_id as low
          from watermark w, unnest($1::uuid[]) as asked (tx_id)
          left join decisions d on d.tx_id = asked.tx_id`,
        values: [txIds],
      });
      const found = new Map(rows.map((row) => [row.tx_id, row]));
      return txIds.map((txId) => {
        const row = found.get(txId);
        return row?.outcome ?? (row?.low ? "forgotten" : undefined);
      });
    },

    async acknowledge(acknowledgements: Acknowledgement[]) {
      // An UPDATE applies one joined row to each of its rows: what two drivers report of one txId goes in as one.
      const byId = new Map<TxId, string[]>();
      for (const { txId, participants } of acknowledgements)
        byId.set(txId, [...(byId.get(txId) ?? []), ...participants]);
      for (const { txId, heuristic = [] } of acknowledgements)
        if (heuristic.length > 0) await noteHeuristic(db, txId, heuristic);
      const batch = Array.from(byId, ([txId, participants]) => ({ txId, participants })).sort(byTxId);
      // `acknowledged` may name a participant twice, when recovery and a driver both delivered: it is read as a set.
      await db.query({
        name: "acknowledge",
        text: `
          with a as (select tx_id, string_to_array(participants, ',') as participants
            from unnest($1::uuid[], $2::text[]) as a (tx_id, participants))
          update decisions d
          set acknowledged = d.acknowledged || a.participants,
            settled = d.acknowledged || a.participants @> d.participants
          from a
          where d.tx_id = a.tx_id and d.settled = $3`,
        values: [
          batch.map(({ txId }) => txId),
          batch.map(({ participants }) => participants.join(",")),
          false, // a parameter, so that the planner finds rows by key and not by the index on unsettled ones
        ],
      });
    },

    async unacknowledged(ageMs, limit): Promise<UnacknowledgedCommit[]> {
      const { rows } = await db.query<{ tx_id: TxId; participants: string[] }>({
        name: "unacknowledged",
        text: `
          select tx_id, array(select unnest(participants) except select unnest(acknowledged)) as participants
          from decisions
          where not settled and decided_at <= now() - make_interval(secs => $1::float8 / 1000)
          order by decided_at
          limit $2`,
        values: [ageMs, limit],
      });
      return rows.map((row) => ({ txId: row.tx_id, participants: row.participants }));
    },
  };
}

/** Before the acknowledgement that ends recovery, so that it is never forgotten. Rare, so it may go one by one. */
async function noteHeuristic(db: Queryable, txId: TxId, participants: string[]): Promise<void> {
  await db.query({
    name: "note-heuristic",
    text: `update decisions
           set heuristic = array(select distinct name from unnest(heuristic || $2::text[]) as n (name) order by name)
           where tx_id = $1`,
    values: [txId, participants],
  });
}
