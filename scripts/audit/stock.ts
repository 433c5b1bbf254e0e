/**
 * I1, all in product's own database and therefore exact in one snapshot: what was put in (every adjustment, the first
 * stock included) is available, reserved by prepared orders, or sold; what was sold has its reservation, or is counted
 * where pruning left a sum of those it deleted. On hand is what is available or reserved; so that
 * nothing is reserved beyond it, nothing may be available below zero. Deleted products count.
 */
import type { Snapshot } from "./snapshot.ts";

interface StockRow {
  id: string;
  /** Null where stock moved of a product that does not exist. */
  sku: string | null;
  available: string;
  adjusted: string;
  sold: string;
  held: string;
}

const UNEXPLAINED = `
  with movement as (
    select r.state, u.product_id, u.quantity
    from reservations r, unnest(r.product_ids, r.quantities) as u (product_id, quantity)
    where r.state in ('committed', 'prepared')
    union all
    select 'committed', product_id, quantity from sold_stock
  ),
  moved as (
    select product_id, sum(quantity) filter (where state = 'committed') as sold,
      sum(quantity) filter (where state = 'prepared') as held
    from movement group by product_id
  ),
  adjusted as (select product_id, sum(delta) as delta from stock_adjustments group by product_id),
  account as (
    select coalesce(p.id, m.product_id, a.product_id) as id, p.sku,
      coalesce(p.available, 0) as available,
      coalesce(a.delta, 0) as adjusted, coalesce(m.sold, 0) as sold, coalesce(m.held, 0) as held
    from products p full join moved m on m.product_id = p.id full join adjusted a on a.product_id = coalesce(p.id, m.product_id)
  )
  select id, sku, available::text, adjusted::text, sold::text, held::text from account
  where sku is null or adjusted <> available + held + sold or available < 0 or held < 0
  order by sku, id`;

export async function auditStock(product: Snapshot): Promise<{ checked: number; violations: string[] }> {
  const rows = await product.rows<StockRow>(UNEXPLAINED);
  const [count] = await product.rows<{ checked: number }>("select count(*)::int as checked from products");
  return { checked: count?.checked ?? 0, violations: rows.map(violation) };
}

function violation({ id, sku, available, adjusted, sold, held }: StockRow): string {
  const account = `adjustments ${adjusted}, available ${available}, reserved by prepared orders ${held}, sold ${sold}`;
  return sku === null
    ? `product ${id} does not exist, but its stock moved: ${account}`
    : `SKU ${sku} (${id}): ${account}`;
}
