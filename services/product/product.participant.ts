/**
 * Product's part in a checkout: a yes vote is a reservation of stock at the quoted price. Product rows are locked in
 * key order, and no lock outlives its batch: what a prepared order holds is a number in `reserved`, not a lock.
 */
import { Participant, type ParticipantStore } from "../../actors/participant.ts";
import type { PrepareEntry, Refusal, TxId } from "../../actors/protocol/messages.ts";
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import { isRival, readSeal, toVoteRecord, txIdSet, type VoteRow } from "../../mixins/vote-rows.ts";
import type { ReservationRequest } from "./api.ts";
import { allocate, type StockRow } from "./product.ts";

export const productParticipant = (db: Database): Participant<ReservationRequest> =>
  new Participant(reservations(db));

/** Lines of all entries in parallel arrays; `entry` is the 1-based place of the line's entry in the batch. */
function flatten(entries: PrepareEntry<ReservationRequest>[]) {
  const flat = {
    entry: [] as number[],
    productId: [] as string[],
    quantity: [] as number[],
    unitPrice: [] as number[],
    currency: [] as string[],
  };
  for (const [i, { request }] of entries.entries()) {
    for (const line of request.lines) {
      flat.entry.push(i + 1);
      flat.productId.push(line.productId);
      flat.quantity.push(line.quantity);
      flat.unitPrice.push(line.unitPrice);
      flat.currency.push(request.currency);
    }
  }
  return flat;
}

function reservations(db: Database): ParticipantStore<ReservationRequest, Queryable> {
  return {
    // All or nothing for the batch: the common case is that everything fits, and then one statement is enough.
    async recordPlainYes(entries) {
      if (entries.length === 0) return new Set();
      const lines = flatten(entries);
      try {
        const { rows } = await db.query<{ fits: boolean }>({
          name: "reserve",
          text: RESERVE,
          values: [
            entries.map((entry) => entry.txId),
            entries.map((entry) => entry.hash),
            lines.entry,
            lines.productId,
            lines.quantity,
            lines.unitPrice,
            lines.currency,
          ],
        });
        return rows[0]?.fits ? new Set(entries.map((entry) => entry.txId)) : new Set();
      } catch (err) {
        if (isRival(err)) return new Set(); // some entry has a row already: look at each
        throw err;
      }
    },

    transaction: (work) => db.transaction(work),
    seal: readSeal,
    isConflict: isRival,

    async find(tx, txIds) {
      const { rows } = await tx.query<VoteRow>({
        name: "find-reservations",
        text: `select tx_id, state, request_hash, refusal from reservations
               where tx_id = any($1::uuid[]) order by tx_id for no key update`,
        values: [txIds],
      });
      return new Map(rows.map((row) => [row.tx_id, toVoteRecord(row)]));
    },

    async examine(tx, entries) {
      const refusals = new Map<TxId, Refusal>();
      if (entries.length === 0) return refusals;
      const stock = await lockStock(tx, flatten(entries).productId);
      const before = new Map([...stock.values()].map((row) => [row.id, row.available]));
      const granted = entries.filter((entry) => {
        const refusal = allocate(entry.request, stock);
        if (refusal) refusals.set(entry.txId, refusal);
        return !refusal;
      });
      const taken = [...stock.values()].filter((row) => row.available !== before.get(row.id));
      if (taken.length > 0)
        await tx.query({
          name: "hold-stock",
          text: `update products p set reserved = p.reserved + d.quantity
                 from unnest($1::uuid[], $2::bigint[]) as d (id, quantity) where p.id = d.id`,
          values: [
            taken.map((row) => row.id),
            taken.map((row) => (before.get(row.id) as number) - row.available),
          ],
        });
      const lines = flatten(granted);
      if (granted.length > 0)
        await tx.query({
          name: "vote-yes",
          text: `with line as (select * from unnest($3::int[], $4::uuid[], $5::bigint[]) as l (entry, product_id, quantity))
                 insert into reservations (tx_id, state, request_hash, product_ids, quantities)
                 select e.tx_id, 'prepared', e.hash, l.product_ids, l.quantities
                 from unnest($1::uuid[], $2::text[]) with ordinality as e (tx_id, hash, n)
                 join (select entry, array_agg(product_id) as product_ids, array_agg(quantity) as quantities
                       from line group by entry) as l on l.entry = e.n
                 order by e.tx_id`,
          values: [
            granted.map((entry) => entry.txId),
            granted.map((entry) => entry.hash),
            lines.entry,
            lines.productId,
            lines.quantity,
          ],
        });
      return refusals;
    },

    async recordNo(tx, refused) {
      await tx.query({
        name: "vote-no",
        text: `insert into reservations (tx_id, state, request_hash, refusal)
               select r.tx_id, 'aborted', r.hash, r.refusal
               from unnest($1::uuid[], $2::text[], $3::jsonb[]) as r (tx_id, hash, refusal) order by r.tx_id`,
        values: [
          refused.map((entry) => entry.txId),
          refused.map((entry) => entry.hash),
          refused.map((entry) => JSON.stringify(entry.refusal)),
        ],
      });
    },

    async commit(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "commit-reservations",
        text: COMMIT,
        values: [txIds],
      });
      return txIdSet(rows);
    },

    async abort(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "abort-reservations",
        text: ABORT,
        values: [txIds],
      });
      return txIdSet(rows);
    },

    async recordTombstones(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "tombstone-reservations",
        text: `insert into reservations (tx_id, state)
               select t.tx_id, 'aborted' from (select tx_id from seal for share) as low (tx_id), unnest($1::uuid[]) as t (tx_id)
               where t.tx_id > low.tx_id order by t.tx_id
               on conflict do nothing returning tx_id`,
        values: [txIds],
      });
      return txIdSet(rows);
    },

    async inDoubt(limit) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "reservations-in-doubt",
        text: "select tx_id from reservations where state = 'prepared' order by tx_id limit $1",
        values: [limit],
      });
      return rows.map((row) => row.tx_id);
    },
  };
}

async function lockStock(tx: Queryable, productIds: string[]): Promise<Map<string, StockRow>> {
  const { rows } = await tx.query<StockRow>({
    name: "lock-stock",
    text: `select id, price, currency, on_hand - reserved as available from products
           where id = any($1::uuid[]) and deleted_at is null order by id for no key update`,
    values: [productIds],
  });
  return new Map(rows.map((row) => [row.id, row]));
}

// Locks the products in key order, judges the batch as a whole on the locked rows, and reserves and votes only where
// everything fits. A txId that has a row already fails the statement on the primary key.
const RESERVE = `
  with low as materialized (select tx_id from seal for share),
  line as materialized (
    select * from unnest($3::int[], $4::uuid[], $5::bigint[], $6::bigint[], $7::text[])
      as l (entry, product_id, quantity, unit_price, currency)
  ),
  stock as materialized (
    select id, on_hand - reserved as available, price, currency from products
    where id = any($4::uuid[]) and deleted_at is null
    order by id for no key update
  ),
  demand as materialized (
    select l.product_id, sum(l.quantity)::bigint as quantity,
      bool_and(s.id is not null and s.price = l.unit_price and s.currency = l.currency) and sum(l.quantity) <= min(s.available) as fits
    from line l left join stock s on s.id = l.product_id
    group by l.product_id
  ),
  verdict as materialized (
    select (select bool_and(coalesce(fits, false)) from demand)
      and not exists (select 1 from low, unnest($1::uuid[]) as t (tx_id) where t.tx_id <= low.tx_id) as fits
  ),
  held as (
    update products p set reserved = p.reserved + d.quantity
    from demand d, verdict v where v.fits and p.id = d.product_id
  ),
  voted as (
    insert into reservations (tx_id, state, request_hash, product_ids, quantities)
    select e.tx_id, 'prepared', e.hash, l.product_ids, l.quantities
    from verdict v, unnest($1::uuid[], $2::text[]) with ordinality as e (tx_id, hash, n)
    join (select entry, array_agg(product_id) as product_ids, array_agg(quantity) as quantities from line group by entry)
      as l on l.entry = e.n
    where v.fits
    order by e.tx_id
  )
  select fits from verdict`;

/** Settles prepared reservations: votes and products are locked in key order, then changed. */
const settle = (state: "committed" | "aborted", change: string): string => `
  with chosen as materialized (
    select tx_id, product_ids, quantities from reservations
    where tx_id = any($1::uuid[]) and state = 'prepared'
    order by tx_id for no key update
  ),
  sum_of as materialized (
    select u.product_id, sum(u.quantity)::bigint as quantity
    from chosen, unnest(chosen.product_ids, chosen.quantities) as u (product_id, quantity)
    group by u.product_id
  ),
  locked as materialized (
    select id from products where id in (select product_id from sum_of) order by id for no key update
  ),
  moved as (
    update products p set ${change}
    from sum_of s, locked where locked.id = s.product_id and p.id = s.product_id
  )
  update reservations r set state = '${state}' from chosen where r.tx_id = chosen.tx_id
  returning r.tx_id`;

const COMMIT = settle("committed", "on_hand = p.on_hand - s.quantity, reserved = p.reserved - s.quantity");
const ABORT = settle("aborted", "reserved = p.reserved - s.quantity");
