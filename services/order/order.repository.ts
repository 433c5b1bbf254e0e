/** All SQL of order that is not a vote: reading orders, and marking those that were answered as pending. */
import type { TxId } from "../../actors/protocol/messages.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { OrderRow, OrderState } from "./order.ts";

const COLUMNS = "id, state, answered_pending, user_id, body_hash, lines, total, currency, created_at";
/** What is an order to somebody: not tombstones, and aborted attempts only where "pending" was answered before. */
const VISIBLE = "user_id is not null and (state <> 'aborted' or answered_pending)";

export async function findOrder(db: Queryable, id: TxId): Promise<OrderRow | undefined> {
  const { rows } = await db.query<OrderRow>({
    name: "find-order",
    text: `select ${COLUMNS} from orders where id = $1 and ${VISIBLE}`,
    values: [id],
  });
  return rows[0];
}

/** Newest first, from `before` (exclusive) down. */
export async function listOrders(
  db: Queryable,
  userId: string,
  before: TxId | undefined,
  limit: number,
): Promise<OrderRow[]> {
  const { rows } = await db.query<OrderRow>({
    name: "list-orders",
    text: `select ${COLUMNS} from orders
           where user_id = $1 and ($2::uuid is null or id < $2::uuid) and ${VISIBLE}
           order by id desc limit $3`,
    values: [userId, before ?? null, limit],
  });
  return rows;
}

/** The attempt that holds this key: live or committed. */
export async function findByKey(db: Queryable, userId: string, key: string): Promise<OrderRow | undefined> {
  const { rows } = await db.query<OrderRow>({
    name: "find-by-key",
    text: `select ${COLUMNS} from orders
           where user_id = $1 and idempotency_key = $2 and idempotency_key is not null and state <> 'aborted'`,
    values: [userId, key],
  });
  return rows[0];
}

/** Makes the order visible whatever becomes of it, because its client is about to be told "pending". Returns its state
 *  now, or undefined where there is none, or none any more: an order is rejected only after this, and then an event. */
export async function markAnsweredPending(db: Queryable, id: TxId): Promise<OrderState | undefined> {
  const { rows } = await db.query<{ state: OrderState }>({
    name: "mark-answered-pending",
    text: `update orders set answered_pending = true
           where id = $1 and user_id is not null and state <> 'aborted' returning state`,
    values: [id],
  });
  return rows[0]?.state;
}
