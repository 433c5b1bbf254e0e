/** Order's database, statement by statement as services/order/ names them. */
import type { TxId } from "../../actors/protocol/messages.ts";
import { type Row, type Simulated, SqlError, type View } from "../database.ts";
import {
  idsOf,
  insertMissing,
  lockAll,
  prune,
  seal,
  sealStatements,
  tombstone,
  type VoteColumns,
} from "./seal.ts";

export interface OrderVote extends VoteColumns {
  state: "prepared" | "committed" | "aborted";
  user_id?: string;
  idempotency_key?: string | null;
  body_hash?: string | null;
  lines?: object[];
  total?: number;
  currency?: string;
  created_at?: Date;
  answered_pending?: boolean;
}

/** An event in the outbox. */
export interface Told extends Row {
  tx_id: TxId;
  type: "order.confirmed" | "order.rejected";
  total: number | undefined;
}

/** The unique index on (user, key) of attempts that are not aborted, as a table of its own. */
interface LiveKey extends Row {
  tx_id: TxId;
}

const liveKeyOf = (user: string | undefined, key: string | null | undefined): string | undefined =>
  key === null || key === undefined ? undefined : `${user} ${key}`;

const holderOf = (view: View, user: string, key: string | null): TxId | undefined => {
  const live = liveKeyOf(user, key);
  return live === undefined ? undefined : view.get<LiveKey>("live_keys", live)?.tx_id;
};

/** Changes states, and the index with them. */
function become(view: View, rows: readonly OrderVote[], state: OrderVote["state"]): void {
  for (const row of rows) {
    view.put("orders", row.tx_id, { ...row, state });
    const live = liveKeyOf(row.user_id, row.idempotency_key);
    if (live !== undefined && state === "aborted") view.put("live_keys", live, undefined);
  }
}

const tell = (view: View, type: Told["type"], { tx_id, total }: OrderVote): void =>
  view.put("outbox", `${type} ${tx_id}`, { tx_id, type, total } satisfies Told);

/** Aborts, and tells of those that were an order to somebody. */
function reject(view: View, rows: readonly OrderVote[]): void {
  become(view, rows, "aborted");
  for (const row of rows) if (row.answered_pending) tell(view, "order.rejected", row);
}

const inState = (view: View, txIds: unknown, state: unknown): OrderVote[] =>
  lockAll<OrderVote>(view, "orders", txIds as TxId[]).filter((row) => row.state === state);

/** As repositories read an order: what is one to somebody. */
const visible = (row: OrderVote | undefined) =>
  row?.user_id !== undefined && (row.state !== "aborted" || row.answered_pending)
    ? [{ ...row, id: row.tx_id }]
    : [];

export const ORDER: Record<string, Simulated> = {
  ...sealStatements<OrderVote>("orders", (row) => row.state === "prepared"),

  "insert-orders"(view, values) {
    const [ids, hashes, users, keys, bodyHashes, lines, totals, currencies, dates] = values as [
      TxId[],
      string[],
      string[],
      (string | null)[],
      (string | null)[],
      string[],
      number[],
      string[],
      string[],
    ];
    const low = seal(view);
    const inserted: TxId[] = [];
    for (const [i, tx_id] of ids.entries()) {
      const user_id = users[i] as string;
      const key = keys[i] ?? null;
      const live = liveKeyOf(user_id, key);
      if (tx_id <= low || view.lock("orders", tx_id) || (live !== undefined && view.lock("live_keys", live)))
        continue;
      view.put("orders", tx_id, {
        tx_id,
        state: "prepared",
        request_hash: hashes[i] as string,
        refusal: null,
        user_id,
        idempotency_key: key,
        body_hash: bodyHashes[i] ?? null,
        lines: JSON.parse(lines[i] as string),
        total: totals[i] as number,
        currency: currencies[i] as string,
        created_at: new Date(dates[i] as string),
        answered_pending: false,
      } satisfies OrderVote);
      if (live !== undefined) view.put("live_keys", live, { tx_id });
      inserted.push(tx_id);
    }
    return inserted.map((tx_id) => ({ tx_id }));
  },

  "abort-replaced"(view, values) {
    const [id, user, key] = values as [TxId, string, string];
    const rows = inState(view, [id], "prepared");
    reject(
      view,
      rows.filter((row) => row.user_id === user && row.idempotency_key === key),
    );
    return [];
  },

  "find-holder"(view, values) {
    const [user, key] = values as [string, string];
    const holder = holderOf(view, user, key);
    return holder === undefined ? [] : [{ id: holder }];
  },

  "refuse-order"(view, values) {
    const [tx_id, request_hash, refusal] = values as [TxId, string, string];
    if (view.lock("orders", tx_id)) throw new SqlError("23505", `${tx_id} has a row`);
    view.put("orders", tx_id, { tx_id, state: "aborted", request_hash, refusal: JSON.parse(refusal) });
    return [];
  },

  "find-order-votes": (view, [txIds]) =>
    lockAll<OrderVote>(view, "orders", txIds as TxId[]).map((row) => ({ ...row })),

  "commit-orders"(view, [txIds, state]) {
    const rows = inState(view, txIds, state);
    become(view, rows, "committed");
    for (const row of rows) tell(view, "order.confirmed", row);
    return idsOf(rows);
  },

  "abort-orders"(view, [txIds, state]) {
    const rows = inState(view, txIds, state);
    reject(view, rows);
    return idsOf(rows);
  },

  "tombstone-orders": (view, [txIds]) =>
    idsOf(insertMissing(view, "orders", (txIds as TxId[]).map(tombstone))),

  "orders-in-doubt": (view, [limit]) =>
    idsOf(
      view
        .all<OrderVote>("orders")
        .filter((row) => row.state === "prepared")
        .slice(0, limit as number),
    ),

  "prune-orders": (view, values) =>
    idsOf(
      prune<OrderVote>(
        view,
        "orders",
        values,
        ({ state, answered_pending }) => state === "aborted" && !answered_pending,
      ),
    ),

  "find-order": (view, [id]) => visible(view.get<OrderVote>("orders", id as TxId)),

  "find-by-key"(view, values) {
    const [user, key] = values as [string, string];
    const holder = holderOf(view, user, key);
    return holder === undefined ? [] : visible(view.get<OrderVote>("orders", holder));
  },

  "mark-answered-pending"(view, [id]) {
    const row = view.lock<OrderVote>("orders", id as TxId);
    if (row?.user_id === undefined || row.state === "aborted") return [];
    view.put("orders", row.tx_id, { ...row, answered_pending: true });
    return [{ state: row.state }];
  },
};
