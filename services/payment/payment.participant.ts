/**
 * Payment's part in a checkout: a yes vote is an authorized card. The gateway is an outside system, so its prepare has
 * two durable steps with the call between them: the intent, then the answer. An abort in between leaves a debt to
 * void. A commit captures, leaves a debt where that fails, and is acknowledged only when the money is captured.
 */
import { Settlement, type VoteStore } from "../../actors/participant.ts";
import type { DecisionReply, PrepareEntry, PrepareReply, TxId } from "../../actors/protocol/messages.ts";
import { EXPIRED, onPrepare } from "../../actors/protocol/participant.ts";
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import type { Votes } from "../../mixins/participant.mixin.ts";
import { isRival, raiseSeal, readSeal, toVoteRecord, txIdSet, type VoteRow } from "../../mixins/vote-rows.ts";
import type { PaymentRequest } from "./api.ts";
import type { CardCaller } from "./card-caller.ts";
import { findIntents, findPrepared, type Intent, recordIntents, settle } from "./payment.repository.ts";

type Entry = PrepareEntry<PaymentRequest>;

export function paymentParticipant(db: Database, cards: CardCaller): Votes {
  const store = votes(db);
  const settlement = new Settlement(store);

  /** Intents are recorded first; whoever had a row already is answered from it, or its authorization is resumed. */
  async function prepare(entries: Entry[]): Promise<PrepareReply[]> {
    const replies = new Map<TxId, PrepareReply>();
    const firsts = new Map(entries.toReversed().map((entry) => [entry.txId, entry]));
    for (const { txId, hash } of firsts.values()) {
      const ongoing = cards.ongoing(txId, hash);
      if (ongoing) replies.set(txId, ongoing);
    }
    const unique = [...firsts.values()]
      .filter(({ txId }) => !replies.has(txId))
      .sort((a, b) => (a.txId < b.txId ? -1 : 1));
    if (unique.length === 0) return entries.map(({ txId }) => replies.get(txId) as PrepareReply);
    const intents = unique.map(toIntent);
    const fresh = await recordIntents(db, intents);
    const waiting = intents.filter((intent) => fresh.has(intent.txId) && !intent.refusal);
    for (const intent of intents)
      if (fresh.has(intent.txId) && intent.refusal)
        replies.set(intent.txId, { kind: "no", ...intent.refusal });

    const known = unique.filter((entry) => !fresh.has(entry.txId));
    if (known.length > 0) {
      const txIds = known.map((entry) => entry.txId);
      const { rows, seal } = await store.transaction(async (tx) => ({
        rows: await store.find(tx, txIds),
        seal: await store.seal(tx),
      }));
      for (const entry of known) {
        const step = onPrepare(rows.get(entry.txId), entry, seal);
        if (step.do === "answer") replies.set(entry.txId, step.reply);
      }
      const unanswered = txIds.filter((txId) => !replies.has(txId));
      if (unanswered.length > 0) waiting.push(...(await findIntents(db, unanswered)));
    }

    const answers = await cards.authorize(waiting);
    for (const [i, intent] of waiting.entries()) replies.set(intent.txId, answers[i] as PrepareReply);
    return entries.map((entry): PrepareReply => {
      // The same txId twice in one batch, with two requests: the first one stands.
      if (firsts.get(entry.txId)?.hash !== entry.hash) return { kind: "conflict" };
      return replies.get(entry.txId) ?? { kind: "pending" };
    });
  }

  /**
   * Captures what is prepared, then writes the outcome, with a debt where the gateway has not captured in time. The
   * decision is a fact that is brought again until it is acknowledged, and a capture is repeated by its key, so a crash
   * between the two costs nothing. Acknowledged is only what is captured.
   */
  async function commit(txIds: TxId[]): Promise<DecisionReply[]> {
    const captured = await cards.capture(await findPrepared(db, txIds));
    const settled = await settle(db, [...txIds].sort(), "committed", captured);
    const repeated = txIds.filter((txId) => !settled.has(txId));
    const answers = await settlement.commit(repeated);
    const owed = await cards.pay(doneOf(repeated, answers));
    return txIds.map((txId) => {
      if (settled.has(txId)) return captured.has(txId) ? "done" : "pending";
      return owed.has(txId) ? "pending" : (answers[repeated.indexOf(txId)] as DecisionReply);
    });
  }

  /** The debts to void are durable with the abort, so it is done even while the gateway is away. */
  async function abort(txIds: TxId[]): Promise<DecisionReply[]> {
    const replies = await settlement.abort(txIds);
    cards.payLater(doneOf(txIds, replies));
    return replies;
  }

  return {
    prepare: prepare as Votes["prepare"],
    commit,
    abort,
    inDoubt: (limit) => settlement.inDoubt(limit),
    raiseSeal: (upTo) => settlement.raiseSeal(upTo),
    prune: (watermark, limit) => settlement.prune(watermark, limit),
  };
}

const toIntent = ({ txId, hash, budgetMs, request }: Entry): Intent => ({
  txId,
  hash,
  refusal: budgetMs > 0 ? undefined : EXPIRED,
  ...request,
});

const NONE: ReadonlySet<TxId> = new Set();

const doneOf = (txIds: TxId[], replies: DecisionReply[]): TxId[] =>
  txIds.filter((_, i) => replies[i] === "done");

function votes(db: Database): VoteStore<Queryable> {
  return {
    transaction: (work) => db.transaction(work),
    seal: readSeal,
    isConflict: isRival,
    commit: (txIds) => settle(db, txIds, "committed", NONE),
    abort: (txIds) => settle(db, txIds, "aborted", NONE),

    async find(tx, txIds) {
      const { rows } = await tx.query<Omit<VoteRow, "state"> & { state: string }>({
        name: "find-payment-votes",
        text: `select tx_id, case state when 'authorizing' then 'examining' else state end as state, request_hash, refusal,
                 exists (select 1 from heuristics h where h.tx_id = payments.tx_id) as heuristic
               from payments where tx_id = any($1::uuid[]) order by tx_id`,
        values: [txIds],
      });
      return new Map(rows.map((row) => [row.tx_id, toVoteRecord(row as VoteRow)]));
    },

    async recordTombstones(txIds) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "tombstone-payments",
        text: `insert into payments (tx_id, state)
               select t.tx_id, 'aborted' from (select tx_id from seal for share) as low (tx_id), unnest($1::uuid[]) as t (tx_id)
               where t.tx_id > low.tx_id order by t.tx_id
               on conflict do nothing returning tx_id`,
        values: [txIds],
      });
      return txIdSet(rows);
    },

    async inDoubt(limit) {
      const { rows } = await db.query<{ tx_id: TxId }>({
        name: "payments-in-doubt",
        text: "select tx_id from payments where state in ('authorizing', 'prepared') order by tx_id limit $1",
        values: [limit],
      });
      return rows.map((row) => row.tx_id);
    },

    // A debt counts as doubt: it is found, and paid, by the row.
    raiseSeal: (upTo) =>
      raiseSeal(
        db,
        upTo,
        `select 1 from payments
         where (state in ('authorizing', 'prepared') or debt is not null) and tx_id <= $1`,
      ),

    // Captured payments stay. The condition is that of the index payments_void, word for word.
    async prune(watermark, limit) {
      const { rowCount } = await db.query({
        name: "prune-payments",
        text: `
          delete from payments where tx_id = any (array(
            select p.tx_id from payments p where p.tx_id <= $1 and p.state = 'aborted' and p.debt is null
            order by p.tx_id limit $2 for update skip locked))`,
        values: [watermark, limit],
      });
      return rowCount ?? 0;
    },
  };
}
