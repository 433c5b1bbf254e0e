/**
 * What each database knows of a transaction: the SQL, either of all transactions (sorted, through a cursor) or of
 * chosen ones. Lines are compared across databases by an order-free digest, so that they need not travel; amounts
 * travel as text, exactly.
 */
import { mergeById } from "./merge.ts";
import type { Snapshot } from "./snapshot.ts";

export type VoteState = "prepared" | "committed" | "aborted";

export interface OrderRecord {
  id: string;
  /** Null where there is an event and no order. */
  state: VoteState | null;
  user_id: string | null;
  total: string | null;
  currency: string | null;
  /** Of a confirmed order: how many lines, what they sum up to, and their digest. */
  line_count: number | null;
  line_total: string | null;
  digest: string | null;
  /** Rows in the outbox that say the order is confirmed. */
  events: number;
  /** Those that say it is rejected. */
  rejections: number;
  answered_pending: boolean | null;
  /** It is so old that its events may have been deleted. */
  events_pruned: boolean | null;
  /** Since the vote; null where the order has no time of its own. */
  age_ms: number | null;
}

export interface ReservationRecord {
  id: string;
  state: VoteState;
  digest: string | null;
  age_ms: number;
}

export interface PaymentRecord {
  id: string;
  state: VoteState | "authorizing";
  debt: "capture" | "void" | null;
  user_id: string | null;
  amount: string | null;
  currency: string | null;
  age_ms: number;
}

export interface DecisionRecord {
  id: string;
  outcome: "commit" | "abort";
  participants: string[];
  settled: boolean;
  age_ms: number;
}

/** What an operator did to a participant's vote against or without the register. */
export interface HeuristicRecord {
  id: string;
  isOpen: boolean;
  /** `"reason" by whom`, in order. */
  reasons: string[];
}

/** Everything that is known of one transaction. */
export interface TransactionRecords {
  order?: OrderRecord;
  product?: ReservationRecord;
  payment?: PaymentRecord;
  decision?: DecisionRecord;
  orderHeuristic?: HeuristicRecord;
  productHeuristic?: HeuristicRecord;
  paymentHeuristic?: HeuristicRecord;
}

export const TRANSACTION_DATABASES = ["order", "product", "payment", "transaction-manager"] as const;
export type TransactionDatabase = (typeof TRANSACTION_DATABASES)[number];
export type TransactionSnapshots = Record<TransactionDatabase, Snapshot>;

const ageOf = (column: string): string => `(extract(epoch from now() - ${column}) * 1000)::float8 as age_ms`;
// The built-in hash of a UUID, seeded with the quantity: the same on every server, and a sum of it does not mind the
// order of the lines.
const digestOf = (productId: string, quantity: string): string =>
  `sum(uuid_hash_extended(${productId}, ${quantity}))::text as digest`;

/** `where` of a query over one id column: all rows, or those of $1. */
type Choice = (column: string) => string;
const all: Choice = () => "";
const chosen: Choice = (column) => `where ${column} = any($1::uuid[])`;

const orders = (choice: Choice): string => `
  select coalesce(o.id, e.key) as id, o.state, o.user_id, o.total::text, o.currency, l.line_count, l.line_total, l.digest,
    coalesce(e.events, 0) as events, coalesce(e.rejections, 0) as rejections, o.answered_pending,
    o.voted_at < (select pruned_before from relay) as events_pruned, ${ageOf("case when o.created_at is not null then o.voted_at end")}
  from (select * from orders ${choice("id")}) as o
  left join lateral (
    select count(*)::int as line_count, sum(line.quantity * line."unitPrice")::text as line_total,
      ${digestOf('line."productId"', "line.quantity")}
    from jsonb_to_recordset(case jsonb_typeof(o.lines) when 'array' then o.lines else '[]' end)
      as line ("productId" uuid, quantity bigint, "unitPrice" bigint)
  ) as l on o.state = 'committed'
  full join (
    select key, count(*) filter (where type = 'order.confirmed')::int as events,
      count(*) filter (where type = 'order.rejected')::int as rejections
    from (select key, type from outbox ${choice("key")}) as told group by key
  ) as e on e.key = o.id
  order by 1`;

const reservations = (choice: Choice): string => `
  select r.tx_id as id, r.state, l.digest, ${ageOf("r.voted_at")}
  from reservations r
  left join lateral (
    select ${digestOf("u.product_id", "u.quantity")}
    from unnest(r.product_ids, r.quantities) as u (product_id, quantity)
  ) as l on r.state = 'committed'
  ${choice("r.tx_id")}
  order by r.tx_id`;

const payments = (choice: Choice): string => `
  select tx_id as id, state, debt, user_id, amount::text, currency, ${ageOf("created_at")}
  from payments ${choice("tx_id")} order by tx_id`;

const decisions = (choice: Choice): string => `
  select tx_id as id, outcome, participants, settled, ${ageOf("decided_at")}
  from decisions ${choice("tx_id")} order by tx_id`;

const heuristics = (choice: Choice): string => `
  select tx_id as id, bool_or(closed_at is null) as "isOpen",
    array_agg('"' || reason || '" by ' || forced_by order by h.id) as reasons
  from heuristics h ${choice("tx_id")} group by tx_id order by tx_id`;

/** Visits every transaction of the shop, or those of `ids`, in order of id. */
export async function readTransactions(
  snapshots: TransactionSnapshots,
  visit: (txId: string, records: TransactionRecords) => void,
  ids?: readonly string[],
): Promise<void> {
  const read = <Row>(name: TransactionDatabase, query: (choice: Choice) => string): AsyncIterable<Row[]> =>
    ids ? once(snapshots[name].rows<Row>(query(chosen), [ids])) : snapshots[name].stream<Row>(query(all));
  await mergeById<Required<TransactionRecords>>(
    {
      order: read("order", orders),
      product: read("product", reservations),
      payment: read("payment", payments),
      decision: read("transaction-manager", decisions),
      orderHeuristic: read("order", heuristics),
      productHeuristic: read("product", heuristics),
      paymentHeuristic: read("payment", heuristics),
    },
    visit,
  );
}

/** At or below the managers' watermark decisions and votes may have been deleted: absence means nothing there. */
export async function readWatermark(register: Snapshot): Promise<string> {
  const [row] = await register.rows<{ tx_id: string }>("select tx_id from watermark");
  if (!row) throw new Error("the decision register has no watermark");
  return row.tx_id;
}

export async function* once<Row>(rows: Promise<Row[]>): AsyncGenerator<Row[]> {
  yield await rows;
}
