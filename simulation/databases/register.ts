/** The decision register, statement by statement as actors/transaction-manager/register.ts and its migrations name them. */
import type { Outcome, TxId } from "../../actors/protocol/messages.ts";
import type { Row, Simulated, View } from "../database.ts";
import { lockAll, NIL } from "./seal.ts";

export interface Decision extends Row {
  tx_id: TxId;
  outcome: Outcome;
  participants: string[];
  acknowledged: string[];
  settled: boolean;
  decided_at: number;
}

const watermark = (view: View): TxId =>
  (view.lock("watermark", "") as { tx_id: TxId } | undefined)?.tx_id ?? NIL;

export const REGISTER: Record<string, Simulated> = {
  decide(view, values) {
    const [txIds, outcomes, participants] = values as [TxId[], Outcome[], string[]];
    const low = watermark(view);
    for (const [i, tx_id] of txIds.entries()) {
      if (tx_id <= low) continue;
      if (view.get("decisions", tx_id)) continue;
      const outcome = outcomes[i] as Outcome;
      view.put("decisions", tx_id, {
        tx_id,
        outcome,
        participants: (participants[i] as string).split(",").filter(Boolean),
        acknowledged: [],
        settled: outcome === "abort",
        decided_at: view.nowMs,
      } satisfies Decision);
    }
    return txIds.flatMap((txId) => {
      const row = view.get<Decision>("decisions", txId);
      return row ? [{ decided_tx_id: row.tx_id, stored_outcome: row.outcome }] : [];
    });
  },

  "read-decisions"(view, [txIds]) {
    const low = watermark(view);
    return (txIds as TxId[]).map((tx_id) => ({
      tx_id,
      outcome: view.get<Decision>("decisions", tx_id)?.outcome ?? null,
      low: tx_id <= low,
    }));
  },

  acknowledge(view, values) {
    const [txIds, lists] = values as [TxId[], string[]];
    const byId = new Map(txIds.map((txId, i) => [txId, (lists[i] as string).split(",")]));
    for (const row of lockAll<Decision>(view, "decisions", txIds)) {
      if (row.settled) continue;
      const acknowledged = [...row.acknowledged, ...(byId.get(row.tx_id) ?? [])];
      const settled = row.participants.every((name) => acknowledged.includes(name));
      view.put("decisions", row.tx_id, { ...row, acknowledged, settled });
    }
    return [];
  },

  unacknowledged(view, values) {
    const [ageMs, limit] = values as [number, number];
    return view
      .all<Decision>("decisions")
      .filter((row) => !row.settled && row.decided_at <= view.nowMs - ageMs)
      .sort((a, b) => a.decided_at - b.decided_at)
      .slice(0, limit)
      .map(({ tx_id, participants, acknowledged }) => ({
        tx_id,
        participants: participants.filter((name) => !acknowledged.includes(name)),
      }));
  },
};
