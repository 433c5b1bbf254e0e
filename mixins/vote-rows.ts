/** What the vote tables of all participants have in common: the seal, the shape of a row, which errors are rivals. */
import type { Refusal, TxId } from "../actors/protocol/messages.ts";
import type { VoteRecord, VoteState } from "../actors/protocol/participant.ts";
import { type Queryable, sqlState } from "./database.mixin.ts";

export interface VoteRow {
  tx_id: TxId;
  state: VoteState;
  request_hash: string | null;
  refusal: Refusal | null;
  heuristic?: boolean;
}

export const toVoteRecord = (row: VoteRow): VoteRecord => ({
  state: row.state,
  hash: row.request_hash ?? undefined,
  refusal: row.refusal ?? undefined,
  heuristic: row.heuristic === true,
});

/** The seal, share-locked until the transaction ends, so that it cannot be raised past a vote being recorded. */
export async function readSeal(tx: Queryable): Promise<TxId> {
  const { rows } = await tx.query<{ tx_id: TxId }>({
    name: "seal",
    text: "select tx_id from seal for share",
  });
  return (rows[0] as { tx_id: TxId }).tx_id;
}

/** Serialization failure, deadlock, or a rival that recorded the same txId first: look again and repeat. */
export const isRival = (err: unknown): boolean => ["40001", "40P01", "23505"].includes(sqlState(err) ?? "");

export const txIdSet = (rows: readonly { tx_id: TxId }[]): Set<TxId> => new Set(rows.map((row) => row.tx_id));
