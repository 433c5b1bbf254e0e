/** Payment's database, statement by statement as services/payment/ names them. */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { Simulated } from "../database.ts";
import { idsOf, insertMissing, lockAll, prune, sealStatements, tombstone, type VoteColumns } from "./seal.ts";

export interface PaymentVote extends VoteColumns {
  state: "authorizing" | "prepared" | "committed" | "aborted";
  user_id?: string;
  amount?: number;
  currency?: string;
  token?: string;
  authorization_id?: string | null;
  debt?: "capture" | "void" | null;
}

const isUnfinished = ({ state }: PaymentVote): boolean => state === "authorizing" || state === "prepared";

const settle =
  (state: "committed" | "aborted"): Simulated =>
  (view, values) => {
    const [txIds, debts, from] = values as [TxId[], ("capture" | "void" | null)[], string[]];
    const rows = lockAll<PaymentVote>(view, "payments", txIds).filter((row) => from.includes(row.state));
    for (const row of rows)
      view.put("payments", row.tx_id, { ...row, state, debt: debts[txIds.indexOf(row.tx_id)] ?? null });
    return idsOf(rows);
  };

export const PAYMENT: Record<string, Simulated> = {
  ...sealStatements<PaymentVote>("payments", (row) => isUnfinished(row) || Boolean(row.debt)),

  "record-intents"(view, values) {
    const [ids, hashes, refusals, users, amounts, currencies, tokens] = values as [
      TxId[],
      string[],
      (string | null)[],
      string[],
      number[],
      string[],
      string[],
    ];
    const intents = ids.map((tx_id, i): PaymentVote => {
      const refusal = refusals[i] ?? null;
      return {
        tx_id,
        state: refusal === null ? "authorizing" : "aborted",
        request_hash: hashes[i] as string,
        refusal: refusal === null ? null : JSON.parse(refusal),
        user_id: users[i] as string,
        amount: amounts[i] as number,
        currency: currencies[i] as string,
        token: tokens[i] as string,
        debt: null,
      };
    });
    return idsOf(insertMissing(view, "payments", intents));
  },

  "record-answers"(view, values) {
    const [ids, authorizations, refusals] = values as [TxId[], (string | null)[], (string | null)[]];
    const rows = lockAll<PaymentVote>(view, "payments", ids).filter((row) => row.state === "authorizing");
    for (const row of rows) {
      const i = ids.indexOf(row.tx_id);
      const refusal = refusals[i] ?? null;
      view.put("payments", row.tx_id, {
        ...row,
        state: refusal === null ? "prepared" : "aborted",
        authorization_id: authorizations[i] ?? null,
        refusal: refusal === null ? null : JSON.parse(refusal),
      });
    }
    return idsOf(rows);
  },

  "prune-payments": (view, values) =>
    idsOf(prune<PaymentVote>(view, "payments", values, ({ state, debt }) => state === "aborted" && !debt)),

  "find-prepared": (view, [txIds, state]) =>
    idsOf(
      (txIds as TxId[])
        .map((txId) => view.get<PaymentVote>("payments", txId))
        .filter((row) => row !== undefined && row.state === state) as PaymentVote[],
    ),

  "settle-committed": settle("committed"),
  "settle-aborted": settle("aborted"),

  "clear-debts"(view, values) {
    const [txIds, debts] = values as [TxId[], string[]];
    for (const row of lockAll<PaymentVote>(view, "payments", txIds))
      if (row.debt === debts[txIds.indexOf(row.tx_id)])
        view.put("payments", row.tx_id, { ...row, debt: null });
    return [];
  },

  "find-debts": (view, [after, limit]) =>
    view
      .all<PaymentVote>("payments")
      .filter(({ tx_id, debt }) => debt && tx_id > (after as TxId))
      .slice(0, limit as number)
      .map(({ tx_id, debt }) => ({ tx_id, debt })),

  "find-owed": (view, [txIds]) =>
    (txIds as TxId[]).flatMap((txId) => {
      const row = view.get<PaymentVote>("payments", txId);
      return row ? [{ tx_id: row.tx_id, debt: row.debt ?? null }] : [];
    }),

  "find-intents": (view, [txIds]) =>
    (txIds as TxId[]).flatMap((txId) => {
      const row = view.get<PaymentVote>("payments", txId);
      return row?.state === "authorizing" ? [{ ...row }] : [];
    }),

  "find-payment-votes": (view, [txIds]) =>
    (txIds as TxId[]).flatMap((txId) => {
      const row = view.get<PaymentVote>("payments", txId);
      return row ? [{ ...row, state: row.state === "authorizing" ? "examining" : row.state }] : [];
    }),

  "tombstone-payments": (view, [txIds]) =>
    idsOf(insertMissing(view, "payments", (txIds as TxId[]).map(tombstone))),

  "payments-in-doubt": (view, [limit]) =>
    idsOf(
      view
        .all<PaymentVote>("payments")
        .filter(isUnfinished)
        .slice(0, limit as number),
    ),
};
