/**
 * Product's part in a checkout: a yes vote is a reservation of stock at the quoted price. Product rows are locked in
 * key order, and no lock outlives its batch: what a prepared order holds is off `available`, and no lock.
 */
import { Participant, type ParticipantStore } from "../../actors/participant.ts";
import type { PrepareEntry, Refusal, TxId } from "../../actors/protocol/messages.ts";
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import { isRival, raiseSeal, readSeal, toVoteRecord, txIdSet, type VoteRow } from "../../mixins/vote-rows.ts";
import type { ReservationRequest } from "./api.ts";
import { allocate, type StockRow } from "./product.ts";

export const productParticipant = (db: Database): Participant<ReservationRequest> =>
  new Participant(reservations(db));

type Entry = PrepareEntry<ReservationRequest>;

interface Demand {
  productId: string;
  quantity: number;
  unitPrice: number;
  currency: string;
}

/** What a batch wants of each product, in key order. Undefined where two entries name two prices for one product:
 *  then they cannot both be granted, and each must be looked at. */
function demandOf(entries: Entry[]): Demand[] | undefined {
  const demands = new Map<string, Demand>();
  for (const { request } of entries) {
    for (const { productId, quantity, unitPrice } of request.lines) {
      if (!(quantity >= 1)) return undefined; // allocate() names the culprit
      const demand = demands.get(productId);
      if (!demand) demands.set(productId, { productId, quantity, unitPrice, currency: request.currency });
      else if (demand.unitPrice !== unitPrice || demand.currency !== request.currency) return undefined;
      else demand.quantity += quantity;
    }
  }
  return [...demands.values()].sort((one, other) => (one.productId < other.productId ? -1 : 1));
}

/** The columns of a batch of yes votes; the lines of each entry travel as array literals of their own. */
const voteColumns = (entries: Entry[]): unknown[] => [
  entries.map((entry) => entry.txId),
  entries.map((entry) => entry.hash),
  entries.map((entry) => `{${entry.request.lines.map((line) => line.productId).join(",")}}`),
  entries.map((entry) => `{${entry.request.lines.map((line) => line.quantity).join(",")}}`),
];

function reservations(db: Database): ParticipantStore<ReservationRequest, Queryable> {
  return {
    // All or nothing for the batch: the common case is that everything fits, and then one statement is enough.
    async recordPlainYes(entries) {
      const demands = entries.length > 0 ? demandOf(entries) : undefined;
      if (!demands) return new Set();
      try {
        const { rows } = await db.query<{ fits: boolean }>({
          name: "reserve",
          text: RESERVE,
          values: [
            ...voteColumns(entries),
            demands.map((demand) => demand.productId),
            demands.map((demand) => demand.quantity),
            demands.map((demand) => demand.unitPrice),
            demands.map((demand) => demand.currency),
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
        text: `select tx_id, state, request_hash, refusal,
                 exists (select 1 from heuristics h where h.tx_id = reservations.tx_id) as heuristic
               from reservations where tx_id = any($1::uuid[]) order by tx_id for no key update`,
        values: [txIds],
      });
      return new Map(rows.map((row) => [row.tx_id, toVoteRecord(row)]));
    },

    async vote(tx, candidates) {
      const stock = await lockStock(
        tx,
        candidates.flatMap(({ entry, refusal }) =>
          refusal ? [] : entry.request.lines.map((line) => line.productId),
        ),
      );
      const before = new Map([...stock.values()].map((row) => [row.id, row.available]));
      const refusals = new Map<TxId, Refusal>();
      for (const { entry, refusal } of candidates) {
        const reason = refusal ?? allocate(entry.request, stock);
        if (reason) refusals.set(entry.txId, reason);
      }
      const taken = [...stock.values()].filter((row) => row.available !== before.get(row.id));
      if (taken.length > 0)
        await tx.query({
          name: "hold-stock",
          text: `update products p set available = p.available - d.quantity
                 from unnest($1::uuid[], $2::bigint[]) as d (id, quantity) where p.id = d.id`,
          values: [
            taken.map((row) => row.id),
            taken.map((row) => (before.get(row.id) as number) - row.available),
          ],
        });
      await tx.query({
        name: "vote",
        text: `insert into reservations (tx_id, state, request_hash, product_ids, quantities, refusal)
               select e.tx_id, case when e.refusal is null then 'prepared' else 'aborted' end, e.hash,
                 case when e.refusal is null then e.product_ids::uuid[] else '{}' end,
                 case when e.refusal is null then e.quantities::bigint[] else '{}' end, e.refusal
               from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::jsonb[])
                 as e (tx_id, hash, product_ids, quantities, refusal)
               order by e.tx_id`,
        values: [
          ...voteColumns(candidates.map(({ entry }) => entry)),
          candidates.map(({ entry }) => {
            const refusal = refusals.get(entry.txId);
            return refusal ? JSON.stringify(refusal) : null;
          }),
        ],
      });
      return refusals;
    },

    async commit(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "commit-reservations",
        text: COMMIT,
        values: [txIds, "prepared"],
      });
      return txIdSet(rows);
    },

    async abort(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "abort-reservations",
        text: ABORT,
        values: [txIds, "prepared"],
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

    raiseSeal: (upTo) =>
      raiseSeal(db, upTo, "select 1 from reservations where state = 'prepared' and tx_id <= $1"),

    async prune(watermark, limit) {
      const { rows } = await db.query<{ gone: number }>({
        name: "prune-reservations",
        text: PRUNE,
        values: [watermark, limit],
      });
      return rows[0]?.gone as number;
    },
  };
}

async function lockStock(tx: Queryable, productIds: string[]): Promise<Map<string, StockRow>> {
  const { rows } = await tx.query<StockRow & { deleted: boolean }>({
    name: "lock-stock",
    text: `select id, price, currency, available, deleted_at is not null as deleted from products
           where id = any($1::uuid[]) order by id for no key update`,
    values: [productIds],
  });
  return new Map(rows.filter((row) => !row.deleted).map((row) => [row.id, row]));
}

// Locks the products in key order, judges the batch as a whole on the locked rows, and reserves and votes only where
// everything fits. $1 txIds, $2 hashes, $3 and $4 each entry's lines, $5 to $8: the demand of the batch per product. Where a txId has a row already, nothing is locked:
// commits lock votes before products, and an insert that met such a row in change would wait for it while holding what
// it waits for. A row that a rival is only just making fails the statement on the primary key. (deleted_at stands in `fits` and not in a WHERE, where it would invite the planner to read a whole
// partial index.)
const RESERVE = `
  with low as materialized (select tx_id from seal for share),
  fresh as materialized (
    select not exists (select 1 from reservations where tx_id = any ($1::uuid[])) as fresh
  ),
  stock as materialized (
    select p.id, d.quantity,
      p.deleted_at is null and p.available >= d.quantity and p.price = d.price and p.currency = d.currency
        as fits
    from fresh f
    cross join unnest($5::uuid[], $6::bigint[], $7::bigint[], $8::text[]) as d (product_id, quantity, price, currency)
    join products p on p.id = d.product_id
    where f.fresh
    order by p.id
    for no key update of p
  ),
  verdict as materialized (
    select (select count(*) filter (where fits) from stock) = cardinality($5::uuid[])
      and not exists (select 1 from low, unnest($1::uuid[]) as t (tx_id) where t.tx_id <= low.tx_id) as fits
  ),
  held as (
    update products p set available = p.available - s.quantity
    from verdict v, stock s where v.fits and p.id = s.id
  ),
  voted as (
    insert into reservations (tx_id, state, request_hash, product_ids, quantities)
    select e.tx_id, 'prepared', e.hash, e.product_ids::uuid[], e.quantities::bigint[]
    from verdict v, unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as e (tx_id, hash, product_ids, quantities)
    where v.fits
    order by e.tx_id
  )
  select fits from verdict`;

// The units are off `available` since the reservation, so a sale changes the vote and nothing else.
export const COMMIT = `
  update reservations set state = 'committed' where tx_id = any($1::uuid[]) and state = $2 returning tx_id`;

// The votes are changed first (an index scan over sorted txIds, so in key order), then the products are locked in key
// order and changed.
export const ABORT = `
  with released as (
    update reservations set state = 'aborted' where tx_id = any($1::uuid[]) and state = $2
    returning tx_id, product_ids, quantities
  ),
  sum_of as materialized (
    select u.product_id, sum(u.quantity)::bigint as quantity
    from released, unnest(released.product_ids, released.quantities) as u (product_id, quantity)
    group by u.product_id
  ),
  stock as materialized (
    select p.id, s.quantity from sum_of s join products p on p.id = s.product_id order by p.id for no key update of p
  ),
  moved as (update products p set available = p.available + s.quantity from stock s where p.id = s.id)
  select tx_id from released`;

// What a sale explains of the stock outlives its row, as a sum. Both are locked in key order; whoever prunes at the same
// time takes other rows.
const PRUNE = `
  with gone as (
    delete from reservations where tx_id = any (array(
      select r.tx_id from reservations r where r.tx_id <= $1 and r.state <> 'prepared'
      order by r.tx_id limit $2 for update skip locked))
    returning state, product_ids, quantities
  ),
  sold as (
    insert into sold_stock (product_id, quantity)
    select u.product_id, sum(u.quantity)
    from gone, unnest(gone.product_ids, gone.quantities) as u (product_id, quantity)
    where gone.state = 'committed'
    group by u.product_id
    order by u.product_id
    on conflict (product_id) do update set quantity = sold_stock.quantity + excluded.quantity
  )
  select count(*)::int as gone from gone`;
