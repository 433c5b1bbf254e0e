/**
 * The invariants of one transaction, pure. Each rule compares records that are final (committed, aborted, decided),
 * so a transaction on its way breaks none of them by being on its way; what is not final yet is told apart as
 * unfinished. Where an operator changed a vote against or without the register (a heuristic), a fault that this can make
 * is explained by it, and no violation once the operator has closed it: somebody has put right what it did. On snapshots that are not simultaneous a final record may be missing here and there: audit.ts looks
 * again before it believes.
 */
import type { TransactionRecords } from "./records.ts";
import type { InvariantId } from "./report.ts";

export interface Fault {
  invariant: InvariantId;
  text: string;
}

/** A record that waits for something, and for how long. */
export interface Unfinished {
  what: string;
  ageMs: number;
}

/** What operators did to the transaction, and the faults that are theirs. */
export interface Explanation {
  isOpen: boolean;
  /** The participants whose vote was changed. */
  participants: string[];
  reasons: string[];
  faults: string[];
}

export interface Judgement {
  faults: Fault[];
  unfinished: Unfinished[];
  heuristic: Explanation | undefined;
}

export function judge(txId: string, records: TransactionRecords, watermark: string): Judgement {
  const reportTo = (list: Fault[], invariant: InvariantId) => (text: string) =>
    list.push({ invariant, text: `${records.order?.state ? "order" : "transaction"} ${txId}: ${text}` });
  /** What a vote that was changed by hand can make. */
  const split: Fault[] = [];
  agreement(records, txId <= watermark, reportTo(split, "I2"));
  if (records.order?.state === "committed") parts(records, txId <= watermark, reportTo(split, "I2"));
  if (txId <= watermark) passed(records, reportTo(split, "I4"));
  debts(records, reportTo(split, "I2"));
  const faults: Fault[] = [];
  if (records.order?.state === "committed") contents(records, reportTo(faults, "I2"));
  completeness(records, reportTo(faults, "I3"));
  event(records, reportTo(faults, "I5"));
  const unfinished = unfinishedOf(records);
  const heuristic = explanationOf(records, split);
  if (!heuristic) return { faults: [...split, ...faults], unfinished, heuristic };
  if (!heuristic.isOpen) return { faults, unfinished, heuristic };
  const why = ` (heuristic at ${heuristic.participants.join(", ")}: ${heuristic.reasons.join("; ")})`;
  const explained = split.map((each) => ({ ...each, text: each.text + why }));
  return { faults: [...explained, ...faults], unfinished, heuristic };
}

function explanationOf(records: TransactionRecords, faults: Fault[]): Explanation | undefined {
  const changed = [
    ["order", records.orderHeuristic],
    ["product", records.productHeuristic],
    ["payment", records.paymentHeuristic],
  ] as const;
  const known = changed.flatMap(([name, record]) => (record ? [{ name, ...record }] : []));
  if (known.length === 0) return undefined;
  return {
    isOpen: known.some(({ isOpen }) => isOpen),
    participants: known.map(({ name }) => name),
    reasons: known.flatMap(({ reasons }) => reasons),
    faults: faults.map(({ text }) => text),
  };
}

type Report = (text: string) => void;

/** Atomic commitment: nobody who is final contradicts the register or anybody else. */
function agreement(records: TransactionRecords, pruned: boolean, fault: Report): void {
  const { decision } = records;
  const votes = [
    ["order", records.order?.state],
    ["product", records.product?.state],
    ["payment", records.payment?.state],
  ] as const;
  const committed = votes.filter(([, state]) => state === "committed").map(([name]) => name);
  const aborted = votes.filter(([, state]) => state === "aborted").map(([name]) => name);
  if (decision?.outcome === "abort" && committed.length > 0)
    fault(`the register says abort, ${committed.join(" and ")} committed`);
  if (decision?.outcome === "commit" && aborted.length > 0)
    fault(`the register says commit, ${aborted.join(" and ")} aborted`);
  if (!decision && !pruned && committed.length > 0)
    fault(`${committed.join(" and ")} committed, the register has no decision`);
  if (!decision && committed.length > 0 && aborted.length > 0)
    fault(`${committed.join(" and ")} committed, ${aborted.join(" and ")} aborted`);
  if (decision?.outcome === "commit")
    for (const [name, state] of votes)
      if (!state && !pruned && decision.participants.includes(name))
        fault(`the register says commit, ${name} has no vote`);
  // Orders are never deleted, so this holds below the watermark too.
  if (!records.order?.state && !decision)
    for (const name of committed) fault(`${name} committed, and there is no order`);
}

/** What belongs to a confirmed order. Captured payments are never deleted either. */
function parts({ product, payment }: TransactionRecords, pruned: boolean, fault: Report): void {
  if (!product && !pruned) fault("confirmed, and no stock was reserved for it");
  if (!payment) fault("confirmed, and there is no payment");
  else if (payment.state === "aborted") fault("confirmed, and its payment was voided");
}

/** Nobody changes what a vote was given for. */
function contents({ order, product, payment }: TransactionRecords, fault: Report): void {
  if (product?.state === "committed" && product.digest !== order?.digest)
    fault("its lines are not those of its reservation");
  if (!payment) return;
  if (payment.amount !== order?.total || payment.currency !== order?.currency)
    fault(
      `its total is ${order?.total} ${order?.currency}, its payment ${payment.amount} ${payment.currency}`,
    );
  if (payment.user_id !== order?.user_id)
    fault(`it belongs to ${order?.user_id}, its payment to ${payment.user_id}`);
}

/** Nobody can learn or carry out an outcome below the watermark any more, so nothing may wait for one there. */
function passed(records: TransactionRecords, fault: Report): void {
  for (const { what } of unfinishedOf(records)) fault(`${what}, and the watermark has passed it`);
}

function debts({ payment }: TransactionRecords, fault: Report): void {
  if (!payment?.debt) return;
  const expected = payment.state === "committed" ? "capture" : payment.state === "aborted" ? "void" : "none";
  if (payment.debt !== expected) fault(`its payment is ${payment.state} and still to be a ${payment.debt}`);
}

function completeness({ order }: TransactionRecords, fault: Report): void {
  if (order?.state !== "committed") return;
  if (!order.line_count) fault("confirmed, and it has no lines");
  else if (order.line_total !== order.total)
    fault(`its total is ${order.total}, its lines add up to ${order.line_total}`);
  if (!order.user_id || !order.currency || order.age_ms === null)
    fault("confirmed, and it lacks its user, currency or time");
}

function event({ order }: TransactionRecords, fault: Report): void {
  if (!order) return;
  const expected = order.state === "committed" ? 1 : 0;
  if (order.events !== expected && !(order.events === 0 && order.events_pruned))
    fault(`it is ${order.state ?? "not there"} and has ${order.events} events instead of ${expected}`);
  // One that was aborted before its client was answered is no rejection to anybody.
  const rejectable = order.state === "aborted" && order.answered_pending ? 1 : 0;
  if (order.rejections !== rejectable && !(order.rejections === 0 && order.events_pruned))
    fault(
      `it is ${order.state ?? "not there"} and was told to be rejected ${order.rejections} times instead of ${rejectable}`,
    );
}

function unfinishedOf({ order, product, payment, decision }: TransactionRecords): Unfinished[] {
  const unfinished: Unfinished[] = [];
  const add = (what: string, ageMs: number | null) => unfinished.push({ what, ageMs: ageMs ?? 0 });
  if (order?.state === "prepared") add("order prepared", order.age_ms);
  if (product?.state === "prepared") add("reservation prepared", product.age_ms);
  if (payment?.state === "prepared" || payment?.state === "authorizing")
    add(`payment ${payment.state}`, payment.age_ms);
  if (payment?.debt) add(`payment owes a ${payment.debt}`, payment.age_ms);
  if (decision?.outcome === "commit" && !decision.settled) add("commit not acknowledged", decision.age_ms);
  return unfinished;
}
