/** What the simulated databases of all participants have in common: the seal, and rows that are votes. */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { VoteState } from "../../actors/protocol/participant.ts";
import type { Row, Rows, Simulated, View } from "../database.ts";

export const NIL: TxId = "00000000-0000-0000-0000-000000000000";

/** The columns that every vote has, under the names that all statements return them by. */
export interface VoteColumns extends Row {
  tx_id: TxId;
  state: VoteState | "authorizing";
  request_hash: string | null;
  refusal: object | null;
}

/** `select tx_id from seal for share`. */
export const seal = (view: View): TxId =>
  (view.lock("seal", "") as { tx_id: TxId } | undefined)?.tx_id ?? NIL;

export const idsOf = (rows: readonly { tx_id: TxId }[]): Rows => rows.map(({ tx_id }) => ({ tx_id }));

/** Locks rows in order of key, and returns those there are. */
export function lockAll<R extends Row>(view: View, table: string, keys: readonly string[]): R[] {
  return [...keys]
    .sort()
    .map((key) => view.lock<R>(table, key))
    .filter((row) => row !== undefined);
}

export const readSeal: Simulated = (view) => [{ tx_id: seal(view) }];

/** Rows for txIds above the seal that have none: `on conflict do nothing`. */
export function insertMissing<R extends VoteColumns>(view: View, table: string, rows: readonly R[]): R[] {
  const low = seal(view);
  const inserted = rows.filter((row) => row.tx_id > low && !view.lock(table, row.tx_id));
  for (const row of inserted) view.put(table, row.tx_id, row);
  return inserted;
}

export const tombstone = (tx_id: TxId): VoteColumns => ({
  tx_id,
  state: "aborted",
  request_hash: null,
  refusal: null,
});
