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

const watermark = (view: View): TxId => (view.lock("watermark", "") as unknown as { tx_id: TxId }).tx_id;

/** As the migrations leave it. */
export const unmarked = (view: View): void => view.put("watermark", "", { tx_id: NIL });

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

  enrol(view, [names]) {
    const low = watermark(view);
    for (const name of names as string[])
      if (!view.lock("participants", name)) view.put("participants", name, { name });
    return [{ tx_id: low }];
  },

  participants: (view) => view.all("participants").map((row) => ({ ...row })),

  limits(view) {
    const low = watermark(view);
    const last = view.all<Decision>("decisions").at(-1)?.tx_id;
    return [{ watermark: low, highest: last === undefined || last < low ? low : last }];
  },

  candidate(view, values) {
    const [ageMs, window] = values as [number, number];
    const next = view
      .all<Decision>("decisions")
      .filter(({ tx_id }) => tx_id > watermark(view))
      .slice(0, window);
    const open = next.findIndex((row) => !(row.settled && row.decided_at <= view.nowMs - ageMs));
    const last = (open < 0 ? next : next.slice(0, open)).at(-1);
    return last ? [{ tx_id: last.tx_id }] : [];
  },

  "raise-watermark"(view, values) {
    const [upTo, sealed] = values as [TxId, string[]];
    const isOpen = view.all<Decision>("decisions").some((row) => row.tx_id <= upTo && !row.settled);
    const isEverybody = view.all("participants").every(({ name }) => sealed.includes(name as string));
    if (watermark(view) < upTo && !isOpen && isEverybody) view.put("watermark", "", { tx_id: upTo });
    return [{ tx_id: watermark(view) }];
  },

  "prune-decisions"(view, [limit]) {
    const gone = view
      .all<Decision>("decisions")
      .filter(({ tx_id }) => tx_id <= watermark(view))
      .slice(0, limit as number);
    for (const { tx_id } of gone) view.put("decisions", tx_id, undefined);
    return gone.map(({ tx_id }) => ({ tx_id }));
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
    const [ageMs, limit, after, afterId] = values as [number, number, string, TxId];
    const afterMs = after === "-infinity" ? Number.NEGATIVE_INFINITY : Number(after);
    return view
      .all<Decision>("decisions")
      .filter((row) => !row.settled && row.decided_at <= view.nowMs - ageMs)
      .filter((row) => row.decided_at > afterMs || (row.decided_at === afterMs && row.tx_id > afterId))
      .sort((a, b) => a.decided_at - b.decided_at || (a.tx_id < b.tx_id ? -1 : 1))
      .slice(0, limit)
      .map(({ tx_id, participants, acknowledged, decided_at }) => ({
        tx_id,
        at: String(decided_at),
        participants: participants.filter((name) => !acknowledged.includes(name)),
      }));
  },
};
