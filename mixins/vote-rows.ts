/** What the vote tables of all participants have in common: the seal, the shape of a row, which errors are rivals. */
import type { Refusal, TxId } from "../actors/protocol/messages.ts";
import type { VoteRecord, VoteState } from "../actors/protocol/participant.ts";
import { sqlState } from "./database.errors.ts";
import type { Database, Queryable } from "./database.mixin.ts";

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

/** Longer than any healthy batch holds the seal, and as long as prepares may have to stand back for its raising. */
const RAISE_WAIT_MS = 100;

/**
 * Raises the seal to `upTo` where `inDoubt`, a query for votes in doubt at or below $1, finds none, and no operator
 * has an open heuristic there: its vote is final here, while the register may yet decide otherwise. The table lock
 * excludes whoever share-locks the seal; unlike a lock on the row it is granted in the order of asking, so that a
 * steady stream of prepares cannot starve it. Where one of them takes long, the seal stays for now.
 */
export async function raiseSeal(db: Database, upTo: TxId, inDoubt: string): Promise<TxId> {
  const read = async (on: Queryable) => {
    const { rows } = await on.query<{ tx_id: TxId }>({ text: "select tx_id from seal" });
    return (rows[0] as { tx_id: TxId }).tx_id;
  };
  try {
    return await db.transaction(async (tx) => {
      await tx.query({ text: `set local lock_timeout = ${RAISE_WAIT_MS}` });
      await tx.query({ text: "lock table seal in exclusive mode" });
      // A statement of its own: its snapshot, taken under the lock, sees every vote that was recorded before.
      await tx.query({
        text: `
          update seal set tx_id = $1
          where tx_id < $1 and not exists (${inDoubt})
            and not exists (select 1 from heuristics h where h.closed_at is null and h.tx_id <= $1)`,
        values: [upTo],
      });
      return read(tx);
    });
  } catch (err) {
    if (sqlState(err) !== "55P03") throw err; // 55P03: the lock was not to be had in time
    return read(db);
  }
}

/** Serialization failure, deadlock, or a rival that recorded the same txId first: look again and repeat. */
export const isRival = (err: unknown): boolean => ["40001", "40P01", "23505"].includes(sqlState(err) ?? "");

export const txIdSet = (rows: readonly { tx_id: TxId }[]): Set<TxId> => new Set(rows.map((row) => row.tx_id));
