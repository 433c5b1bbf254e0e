/** What must hold of everything that is stored, at any moment or at the end. Each answers what is wrong, in sentences. */
import type { TxId } from "../actors/protocol/messages.ts";
import type { OrderVote } from "./databases/order.ts";
import type { ProductRow, Reservation } from "./databases/product.ts";
import type { Decision } from "./databases/register.ts";
import { PARTICIPANTS } from "./plan.ts";
import type { Shop } from "./shop.ts";

interface Limit {
  [column: string]: unknown;
  tx_id: TxId;
}

export const sealOf = ({ databases }: Shop, participant: string): TxId =>
  databases[participant as "order"].row<Limit>("seal", "")?.tx_id ?? "";

export const watermarkOf = ({ databases }: Shop): TxId =>
  databases.register.row<Limit>("watermark", "")?.tx_id ?? "";

/** I1: what is off `available` is exactly what prepared and sold orders hold. */
export function stockFaults({ databases: { product } }: Shop, stock: readonly number[]): string[] {
  const held = new Map<string, number>();
  const hold = (id: string, quantity: number) => held.set(id, (held.get(id) ?? 0) + quantity);
  for (const { state, product_ids, quantities } of product.rows<Reservation>("reservations"))
    if (state !== "aborted") for (const [i, id] of product_ids.entries()) hold(id, quantities[i] as number);
  for (const { product_id, quantity } of product.rows<{ product_id: string; quantity: number }>("sold_stock"))
    hold(product_id, quantity);
  return product.rows<ProductRow>("products").flatMap(({ id, available }, i) => {
    const off = held.get(id) ?? 0;
    return available >= 0 && available + off === stock[i]
      ? []
      : [`product ${i}: ${available} available, ${off} held or sold, ${stock[i]} in all`];
  });
}

/** At most one attempt per key is live or committed. */
export function keyFaults({ databases: { order } }: Shop): string[] {
  const holders = new Map<string, TxId>();
  return order.rows<OrderVote>("orders").flatMap((row) => {
    if (row.state === "aborted" || !row.idempotency_key) return [];
    const key = `${row.user_id} ${row.idempotency_key}`;
    const holder = holders.get(key);
    holders.set(key, row.tx_id);
    return holder === undefined ? [] : [`${key} is held by ${holder} and ${row.tx_id}`];
  });
}

/** Rule 7 (b): everybody has sealed it, and every commit at or below it is acknowledged. */
export function watermarkFaults(shop: Shop, txId: TxId): string[] {
  const passed = PARTICIPANTS.filter((name) => sealOf(shop, name) < txId);
  const open = shop.databases.register
    .rows<Decision>("decisions")
    .filter((row) => row.tx_id <= txId && row.outcome === "commit")
    .filter((row) => !row.participants.every((name) => row.acknowledged.includes(name)));
  return [
    ...passed.map((name) => `the watermark ${txId} passes the seal of ${name}, ${sealOf(shop, name)}`),
    ...open.map(
      (row) => `the watermark ${txId} passes ${row.tx_id}, acknowledged by ${row.acknowledged} only`,
    ),
  ];
}

/** I2, at the end. */
export function moneyFaults({ bank, databases }: Shop, txId: TxId, isCommitted: boolean): string[] {
  const account = bank.accounts.get(txId);
  if (!isCommitted)
    return account?.authorization.kind === "approved" && !account.isVoided
      ? [`${txId} is aborted, and the bank still holds money`]
      : [];
  const total = databases.order.row<OrderVote>("orders", txId)?.total;
  return account && account.captures > 0 && account.amount === total
    ? []
    : [`order ${txId} over ${total} is confirmed, the bank has ${JSON.stringify(account)}`];
}

/** What is for ever: who has sold, charged and confirmed what. Late messages must not change it. */
export function balancesOf({ bank, databases: { order, product } }: Shop): string {
  return JSON.stringify([
    product.rows<ProductRow>("products").map(({ id, available }) => [id, available]),
    order
      .rows<OrderVote>("orders")
      .filter(({ state }) => state === "committed")
      .map(({ tx_id }) => tx_id),
    [...bank.accounts].filter(([, { captures }]) => captures > 0).map(([key]) => key),
  ]);
}
