/**
 * Order's part in a checkout: a yes vote is a pending order that holds its user's Idempotency-Key. One key has at most
 * one live or committed attempt, by a unique index; a new attempt takes the key only by naming an attempt that the
 * register has aborted.
 */
import { Participant, type ParticipantStore } from "../../actors/participant.ts";
import type { PrepareEntry, Refusal, TxId } from "../../actors/protocol/messages.ts";
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import { PUBLISHING } from "../../mixins/events/outbox.rows.ts";
import { isRival, raiseSeal, readSeal, toVoteRecord, txIdSet, type VoteRow } from "../../mixins/vote-rows.ts";
import type { OrderRequest } from "./order.ts";

/** The traceparents of the transactions that are traced, as JSON by txId; null where none is. */
type TraceparentsOf = (txIds: readonly TxId[]) => string | null;

export const orderParticipant = (
  db: Database,
  traceparentsOf: TraceparentsOf = () => null,
): Participant<OrderRequest> => new Participant(orders(db, traceparentsOf));

type Entry = PrepareEntry<OrderRequest>;

/** Inserts what has neither a row nor a rival for its key; returns the txIds inserted. */
async function insertPrepared(db: Queryable, entries: Entry[]): Promise<Set<TxId>> {
  const requests = entries.map((entry) => entry.request);
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: "insert-orders",
    text: `
      insert into orders (id, state, request_hash, user_id, idempotency_key, body_hash, lines, total, currency, created_at, participants)
      select e.id, 'prepared', e.hash, e.user_id, e.key, e.body_hash, e.lines, e.total, e.currency, e.created_at,
        string_to_array(e.participants, ',')
      from (select tx_id from seal for share) as low (tx_id),
        unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::bigint[], $8::text[], $9::timestamptz[], $10::text[])
          as e (id, hash, user_id, key, body_hash, lines, total, currency, created_at, participants)
      where e.id > low.tx_id
      order by e.id
      on conflict do nothing
      returning id as tx_id`,
    values: [
      entries.map((entry) => entry.txId),
      entries.map((entry) => entry.hash),
      requests.map((request) => request.userId),
      requests.map((request) => request.idempotencyKey ?? null),
      requests.map((request) => request.bodyHash ?? null),
      requests.map((request) => JSON.stringify(request.lines)),
      requests.map((request) => request.total),
      requests.map((request) => request.currency),
      requests.map((request) => request.createdAt),
      entries.map((entry) => entry.participants?.join(",") ?? null),
    ],
  });
  return txIdSet(rows);
}

/** Aborts the attempt that `entry` replaces, which its caller knows to be aborted in the register. */
async function abortReplaced(tx: Queryable, { request }: Entry): Promise<void> {
  await tx.query({
    name: "abort-replaced",
    text: aborting("id = $1 and user_id = $2 and idempotency_key = $3 and state = 'prepared'"),
    values: [request.replaces, request.userId, request.idempotencyKey],
  });
}

async function findHolder(tx: Queryable, { request }: Entry): Promise<TxId | undefined> {
  const { rows } = await tx.query<{ id: TxId }>({
    name: "find-holder",
    text: `select id from orders where user_id = $1 and idempotency_key = $2 and idempotency_key is not null
           and state <> 'aborted'`,
    values: [request.userId, request.idempotencyKey],
  });
  return rows[0]?.id;
}

/** Records the yes of one entry, or says who holds its key. */
async function take(tx: Queryable, entry: Entry): Promise<Refusal | undefined> {
  if (entry.request.replaces !== undefined) await abortReplaced(tx, entry);
  if ((await insertPrepared(tx, [entry])).has(entry.txId)) return undefined;
  const holder = await findHolder(tx, entry);
  // Neither inserted nor held: a rival recorded this txId meanwhile. Start over and find its row.
  if (!holder) throw Object.assign(new Error(`${entry.txId} was recorded by a rival`), { code: "40001" });
  return { reason: "key_taken", detail: { holder } };
}

async function recordNo(tx: Queryable, { txId, hash }: Entry, refusal: Refusal): Promise<void> {
  await tx.query({
    name: "refuse-order",
    text: "insert into orders (id, state, request_hash, refusal) values ($1, 'aborted', $2, $3)",
    values: [txId, hash, JSON.stringify(refusal)],
  });
}

function orders(db: Database, traceparentsOf: TraceparentsOf): ParticipantStore<OrderRequest, Queryable> {
  return {
    async recordPlainYes(entries) {
      const plain = entries.filter((entry) => entry.request.replaces === undefined);
      if (plain.length === 0) return new Set();
      return insertPrepared(db, plain).catch((err) => {
        // A deadlock's victim has recorded nothing: the slower way, one by one, repeats itself until it is through.
        if (isRival(err)) return new Set<TxId>();
        throw err;
      });
    },

    transaction: (work) => db.transaction(work),
    seal: readSeal,
    isConflict: isRival,

    async find(tx, txIds) {
      const { rows } = await tx.query<VoteRow>({
        name: "find-order-votes",
        text: `select id as tx_id, state, request_hash, refusal,
                 exists (select 1 from heuristics h where h.tx_id = orders.id) as heuristic
               from orders where id = any($1::uuid[]) order by id for no key update`,
        values: [txIds],
      });
      return new Map(rows.map((row) => [row.tx_id, toVoteRecord(row)]));
    },

    async vote(tx, candidates) {
      const refusals = new Map<TxId, Refusal>();
      for (const { entry, refusal } of candidates) {
        const reason = refusal ?? (await take(tx, entry));
        if (!reason) continue;
        refusals.set(entry.txId, reason);
        await recordNo(tx, entry, reason);
      }
      return refusals;
    },

    async commit(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "commit-orders",
        text: COMMIT,
        values: [txIds, "prepared", traceparentsOf(txIds)],
      });
      return txIdSet(rows);
    },

    async abort(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "abort-orders",
        text: ABORT,
        values: [txIds, "prepared"],
      });
      return txIdSet(rows);
    },

    async recordTombstones(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "tombstone-orders",
        text: `insert into orders (id, state)
               select t.id, 'aborted' from (select tx_id from seal for share) as low (tx_id), unnest($1::uuid[]) as t (id)
               where t.id > low.tx_id order by t.id
               on conflict do nothing returning id as tx_id`,
        values: [txIds],
      });
      return txIdSet(rows);
    },

    async inDoubt(limit) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "orders-in-doubt",
        text: "select id as tx_id from orders where state = 'prepared' order by id limit $1",
        values: [limit],
      });
      return rows.map((row) => row.tx_id);
    },

    raiseSeal: (upTo) => raiseSeal(db, upTo, "select 1 from orders where state = 'prepared' and id <= $1"),

    // Orders and their keys stay. The condition is that of the index orders_to_nobody, word for word.
    async prune(watermark, limit) {
      const { rowCount } = await db.query({
        name: "prune-orders",
        text: `
          delete from orders where id = any (array(
            select o.id from orders o where o.id <= $1 and o.state = 'aborted' and not o.answered_pending
            order by o.id limit $2 for update skip locked))`,
        values: [watermark, limit],
      });
      return rowCount ?? 0;
    },
  };
}

// Whoever was told "pending" is told the end. Its trace is over by then.
const aborting = (which: string): string => `
  with aborted as (
    update orders set state = 'aborted' where ${which}
    returning id, user_id, total, currency, lines, answered_pending
  ),
  told as (
    insert into outbox (type, version, key, payload)
    select 'order.rejected', 1, id,
      jsonb_build_object('orderId', id, 'userId', user_id, 'total', total, 'currency', currency, 'lines', lines)
    from aborted where answered_pending
  )
  select id as tx_id from aborted`;

export const ABORT = aborting("id = any($1::uuid[]) and state = $2");

// The event is a row of the same transaction: there is one exactly if the order is confirmed. A batch publishes its events
// with them, which spares the relay to write each row a second time. (The state is a parameter because as a literal it
// would let the planner read the whole index on it.)
const confirming = (publishing: string): string => `
  with publishing as materialized (${publishing}),
  confirmed as (
    update orders set state = 'committed' where id = any($1::uuid[]) and state = $2
    returning id, user_id, total, currency, lines
  ),
  told as (
    insert into outbox (type, version, key, payload, trace, ${PUBLISHING.columns})
    select 'order.confirmed', 1, id,
      jsonb_build_object('orderId', id, 'userId', user_id, 'total', total, 'currency', currency, 'lines', lines),
      $3::jsonb ->> id::text, ${PUBLISHING.values}
    from publishing, confirmed
  )
  select id as tx_id from confirmed`;

const COMMIT = confirming(PUBLISHING.now);
/** For a transaction that goes on. */
export const COMMIT_FIRST = confirming(PUBLISHING.later);
