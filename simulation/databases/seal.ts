/** What the simulated databases of all participants have in common: the seal, and rows that are votes. */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { VoteState } from "../../actors/protocol/participant.ts";
import { type Row, type Rows, type Simulated, SqlError, type View } from "../database.ts";

export const NIL: TxId = "00000000-0000-0000-0000-000000000000";

/** The columns that every vote has, under the names that all statements return them by. */
export interface VoteColumns extends Row {
  tx_id: TxId;
  state: VoteState | "authorizing";
  request_hash: string | null;
  refusal: object | null;
}

/** `select tx_id from seal for share`. */
export const seal = (view: View): TxId => (view.lock("seal", "") as unknown as { tx_id: TxId }).tx_id;

/** As the migrations leave it. */
export const unsealed = (view: View): void => view.put("seal", "", { tx_id: NIL });

export const idsOf = (rows: readonly { tx_id: TxId }[]): Rows => rows.map(({ tx_id }) => ({ tx_id }));

/** Locks rows in order of key, and returns those there are. */
export function lockAll<R extends Row>(view: View, table: string, keys: readonly string[]): R[] {
  return [...keys]
    .sort()
    .map((key) => view.lock<R>(table, key))
    .filter((row) => row !== undefined);
}

const readSeal: Simulated = (view) => [{ tx_id: seal(view) }];

/** The statements about the seal, with what must not stand at or below a new one. */
export const sealStatements = <R extends VoteColumns>(
  table: string,
  holdsUp: (row: R) => boolean,
): Record<string, Simulated> => ({
  seal: readSeal,
  "select tx_id": (view) => [{ tx_id: view.get("seal", "")?.tx_id }],
  "set local": () => [],
  "lock table": (view) => {
    seal(view);
    return [];
  },
  "update seal": (view, [upTo]) => {
    const isFree = () => !view.all<R>(table).some((row) => row.tx_id <= (upTo as TxId) && holdsUp(row));
    if (seal(view) >= (upTo as TxId) || !isFree()) return [];
    view.put("seal", "", { tx_id: upTo });
    // Whoever records a vote meanwhile would have had to wait; here the raising gives way, as after its lock_timeout.
    view.require(isFree, new SqlError("55P03", "the seal is in use"));
    return [];
  },
});

/** Deletes the lowest rows that are votes and nothing else. */
export function prune<R extends VoteColumns>(
  view: View,
  table: string,
  values: readonly unknown[],
  mayGo: (row: R) => boolean,
): R[] {
  const [watermark, limit] = values as [TxId, number];
  const gone = view
    .all<R>(table)
    .filter((row) => row.tx_id <= watermark && mayGo(row))
    .slice(0, limit);
  for (const { tx_id } of gone) view.put(table, tx_id, undefined);
  return gone;
}

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
