/**
 * The decision register in PostgreSQL: every SQL statement of the transaction manager. The register never fails over
 * to a replica that lacks an acknowledged commit, and is read on the primary only.
 */

import { LOWEST_ID } from "../../lib/ids.ts";
import { sqlState } from "../../mixins/database.errors.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Outcome, TxId } from "../protocol/messages.ts";
import type { Acknowledgement, Limits, Proposal, RegisterPort, UnacknowledgedCommit } from "./ports.ts";

/** Managers write in one order, so that they wait for each other but never in a circle. */
const byTxId = (a: { txId: TxId }, b: { txId: TxId }): number =>
  a.txId < b.txId ? -1 : a.txId > b.txId ? 1 : 0;

export function register(db: Queryable): RegisterPort {
  const limits = async (): Promise<Limits> => {
    const { rows } = await db.query<Limits>({
      name: "limits",
      text: `select w.tx_id as watermark,
               greatest(w.tx_id, (select tx_id from decisions order by tx_id desc limit 1)) as highest
             from watermark w`,
    });
    return rows[0] as Limits;
  };

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

    async unacknowledged(ageMs, limit, after): Promise<UnacknowledgedCommit[]> {
      const { rows } = await db.query<{ tx_id: TxId; participants: string[]; at: string }>({
        name: "unacknowledged",
        text: `
          select tx_id, array(select unnest(participants) except select unnest(acknowledged)) as participants,
            decided_at::text as at
          from decisions
          where not settled and decided_at <= now() - make_interval(secs => $1::float8 / 1000)
            and (decided_at, tx_id) > ($3::timestamptz, $4::uuid)
          order by decided_at, tx_id
          limit $2`,
        values: [ageMs, limit, after?.decidedAt ?? "-infinity", after?.txId ?? LOWEST_ID],
      });
      return rows.map((row) => ({ txId: row.tx_id, participants: row.participants, decidedAt: row.at }));
    },

    async enrol(participants) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "enrol",
        text: `
          with low as materialized (select tx_id from watermark for share),
          enrolled as (
            insert into participants (name) select p.name from low, unnest($1::text[]) as p (name)
            order by p.name on conflict do nothing
          )
          select tx_id from low`,
        values: [participants],
      });
      return (rows[0] as { tx_id: TxId }).tx_id;
    },

    async participants() {
      const { rows } = await db.query<{ name: string }>({
        name: "participants",
        text: "select name from participants order by name",
      });
      return rows.map((row) => row.name);
    },

    limits,

    async candidate(ageMs, window) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "candidate",
        text: `
          with next as materialized (
            select tx_id, settled and decided_at <= now() - make_interval(secs => $1::float8 / 1000) as done
            from decisions where tx_id > (select tx_id from watermark) order by tx_id limit $2
          )
          select tx_id from next
          where done and not exists (select 1 from next as b where not b.done and b.tx_id < next.tx_id)
          order by tx_id desc limit 1`,
        values: [ageMs, window],
      });
      return rows[0]?.tx_id;
    },

    async raiseWatermark(upTo, sealed) {
      try {
        const { rows } = await db.query<{ tx_id: TxId }>({
          name: "raise-watermark",
          text: "select raise_watermark($1::uuid, $2::text[]) as tx_id",
          values: [upTo, sealed],
        });
        return (rows[0] as { tx_id: TxId }).tx_id;
      } catch (err) {
        if (sqlState(err) !== "55P03") throw err; // 55P03: decisions held it, and had precedence
        return (await limits()).watermark;
      }
    },

    async prune(limit) {
      const { rowCount } = await db.query({
        name: "prune-decisions",
        text: `
          delete from decisions where tx_id = any (array(
            select d.tx_id from decisions d where d.tx_id <= (select tx_id from watermark)
            order by d.tx_id limit $1 for update skip locked))`,
        values: [limit],
      });
      return rowCount ?? 0;
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
