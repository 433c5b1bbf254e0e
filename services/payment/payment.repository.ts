/**
 * All SQL of payment: intents, their answers, debts. Batches come sorted by txId. Where rows are found by key, states
 * are parameters: as literals they would let the planner read a whole partial index on them instead.
 */
import type { Refusal, TxId } from "../../actors/protocol/messages.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import { txIdSet } from "../../mixins/vote-rows.ts";
import type { PaymentStatus } from "./api.ts";

export type Debt = "capture" | "void";

export interface Intent {
  txId: TxId;
  hash: string;
  /** Set on an intent that is refused at once: a tombstone. */
  refusal: Refusal | undefined;
  userId: string;
  amount: number;
  currency: string;
  token: string;
}

/** Records intents (or, for those with a refusal, noes) that have no row yet. Returns the txIds recorded. */
export async function recordIntents(db: Queryable, intents: Intent[]): Promise<Set<TxId>> {
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: "record-intents",
    text: `
      insert into payments (tx_id, state, request_hash, refusal, user_id, amount, currency, token)
      select i.tx_id, case when i.refusal is null then 'authorizing' else 'aborted' end, i.hash, i.refusal,
        i.user_id, i.amount, i.currency, i.token
      from (select tx_id from seal for share) as low (tx_id),
        unnest($1::uuid[], $2::text[], $3::jsonb[], $4::uuid[], $5::bigint[], $6::text[], $7::text[])
          as i (tx_id, hash, refusal, user_id, amount, currency, token)
      where i.tx_id > low.tx_id
      order by i.tx_id
      on conflict do nothing
      returning tx_id`,
    values: [
      intents.map((intent) => intent.txId),
      intents.map((intent) => intent.hash),
      intents.map((intent) => (intent.refusal ? JSON.stringify(intent.refusal) : null)),
      intents.map((intent) => intent.userId),
      intents.map((intent) => intent.amount),
      intents.map((intent) => intent.currency),
      intents.map((intent) => intent.token),
    ],
  });
  return txIdSet(rows);
}

export interface Answer {
  txId: TxId;
  authorizationId: string | undefined;
  /** Set where the card was declined. */
  refusal: Refusal | undefined;
}

/** Turns intents into votes. An intent that was aborted meanwhile stays aborted and is not returned. */
export async function recordAnswers(db: Queryable, answers: Answer[]): Promise<Set<TxId>> {
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: "record-answers",
    text: `
      update payments p
      set state = case when a.refusal is null then 'prepared' else 'aborted' end,
        authorization_id = a.authorization_id, refusal = a.refusal
      from unnest($1::uuid[], $2::text[], $3::jsonb[]) as a (tx_id, authorization_id, refusal)
      where p.tx_id = a.tx_id and p.state = $4
      returning p.tx_id`,
    values: [
      answers.map((answer) => answer.txId),
      answers.map((answer) => answer.authorizationId ?? null),
      answers.map((answer) => (answer.refusal ? JSON.stringify(answer.refusal) : null)),
      "authorizing",
    ],
  });
  return txIdSet(rows);
}

export async function findPrepared(db: Queryable, txIds: TxId[]): Promise<TxId[]> {
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: "find-prepared",
    text: "select tx_id from payments where tx_id = any($1::uuid[]) and state = $2",
    values: [txIds, "prepared"],
  });
  return rows.map((row) => row.tx_id);
}

/** Commits or aborts, and writes the debt that comes with it, except for those that are paid. Returns what changed. */
export async function settle(
  db: Queryable,
  txIds: TxId[],
  outcome: "committed" | "aborted",
  paid: ReadonlySet<TxId>,
): Promise<Set<TxId>> {
  if (txIds.length === 0) return new Set();
  const from = outcome === "committed" ? ["prepared"] : ["authorizing", "prepared"];
  const debt: Debt = outcome === "committed" ? "capture" : "void";
  const { rows } = await db.query<{ tx_id: TxId }>({
    name: `settle-${outcome}`,
    text: `
      update payments p set state = '${outcome}', debt = s.debt
      from unnest($1::uuid[], $2::text[]) as s (tx_id, debt)
      where p.tx_id = s.tx_id and p.state = any($3::text[])
      returning p.tx_id`,
    values: [txIds, txIds.map((txId) => (paid.has(txId) ? null : debt)), from],
  });
  return txIdSet(rows);
}

export interface Owed {
  txId: TxId;
  debt: Debt;
}

/** Clears what is paid, and only that: an operator may have turned a capture into a void meanwhile. */
export async function clearDebts(db: Queryable, paid: Owed[]): Promise<void> {
  await db.query({
    name: "clear-debts",
    text: `
      update payments p set debt = null
      from unnest($1::uuid[], $2::text[]) as d (tx_id, debt)
      where p.tx_id = d.tx_id and p.debt = d.debt`,
    values: [paid.map(({ txId }) => txId), paid.map(({ debt }) => debt)],
  });
}

/** Those above `after`, oldest first. */
export async function findDebts(db: Queryable, after: TxId, limit: number): Promise<Owed[]> {
  const { rows } = await db.query<{ tx_id: TxId; debt: Debt }>({
    name: "find-debts",
    text: "select tx_id, debt from payments where debt is not null and tx_id > $1 order by tx_id limit $2",
    values: [after, limit],
  });
  return rows.map((row) => ({ txId: row.tx_id, debt: row.debt }));
}

/** Which of these the gateway still owes us something for. */
export async function findOwed(db: Queryable, txIds: TxId[]): Promise<Owed[]> {
  const { rows } = await db.query<{ tx_id: TxId; debt: Debt | null }>({
    name: "find-owed",
    text: "select tx_id, debt from payments where tx_id = any($1::uuid[])",
    values: [txIds],
  });
  return rows.flatMap(({ tx_id, debt }) => (debt ? [{ txId: tx_id, debt }] : []));
}

/** What an interrupted authorization needs to be asked again. */
export async function findIntents(db: Queryable, txIds: TxId[]): Promise<Intent[]> {
  const { rows } = await db.query<{
    tx_id: TxId;
    request_hash: string;
    user_id: string;
    amount: number;
    currency: string;
    token: string;
  }>({
    name: "find-intents",
    text: `select tx_id, request_hash, user_id, amount, currency, token from payments
           where tx_id = any($1::uuid[]) and state = 'authorizing'`,
    values: [txIds],
  });
  return rows.map((row) => ({
    txId: row.tx_id,
    hash: row.request_hash,
    refusal: undefined,
    userId: row.user_id,
    amount: row.amount,
    currency: row.currency,
    token: row.token,
  }));
}

export async function findStatuses(db: Queryable, txIds: TxId[]): Promise<Map<TxId, PaymentStatus>> {
  const { rows } = await db.query<{ tx_id: TxId; status: PaymentStatus }>({
    name: "find-statuses",
    text: `
      select tx_id, case when state = 'aborted' then 'voided' when state = 'committed' and debt is null then 'captured'
        else 'authorized' end as status
      from payments where tx_id = any($1::uuid[]) and amount is not null`,
    values: [txIds],
  });
  return new Map(rows.map((row) => [row.tx_id, row.status]));
}
