/** What a replay says at its end. */
import type { SkippedRows } from "./order-book.ts";

export interface Rejection {
  count: number;
  examples: { invoice: string; detail: string }[];
}

export interface ReplayReport {
  /** Every invoice that has something to buy got its final answer. */
  complete: boolean;
  rows: number;
  skippedRows: SkippedRows;
  invoices: number;
  /** Invoices of which nothing is left to buy. */
  skippedInvoices: number;
  /** 201, first-hand. */
  created: number;
  /** 201 again, for a key that an earlier run or an earlier attempt of this one has used. */
  replayed: number;
  /** By the problem's code. */
  rejected: Record<string, Rejection>;
  /** Given up: what happened, by invoice. */
  unanswered: { invoice: string; detail: string }[];
  products: { created: number; existing: number; neverPriced: number };
  customers: { registered: number; existing: number };
  /** Requests repeated because the server was away or busy. */
  retries: number;
  /** Of the orders alone, without the products and customers. */
  ordersSeconds: number;
  ordersPerSecond: number;
  /** From an order's first attempt to its final answer, waiting for a dead server included. */
  p50Ms: number;
  p99Ms: number;
  seconds: number;
}

/** The smallest value that `share` of the sorted values do not exceed; 0 where there is none. */
export function percentile(sorted: readonly number[], share: number): number {
  return Math.round((sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0) * 10) / 10;
}

export function replayText(report: ReplayReport): string {
  const { skippedRows: rows, products, customers } = report;
  const rejected = Object.entries(report.rejected);
  const count = (n: number): string => n.toLocaleString("en");
  const lines = [
    `rows        ${count(report.rows)}; skipped: ${count(rows.returns)} returns, ${count(rows.zeroPrice)} without a price, ${count(rows.unreadable)} unreadable`,
    `products    ${count(products.created)} created, ${count(products.existing)} there already, ${count(products.neverPriced)} never priced`,
    `customers   ${count(customers.registered)} registered, ${count(customers.existing)} there already`,
    `invoices    ${count(report.invoices)}; ${count(report.skippedInvoices)} with nothing to buy`,
    `orders      ${count(report.created)} created, ${count(report.replayed)} replayed, ${count(rejected.reduce((sum, [, { count: n }]) => sum + n, 0))} rejected, ${count(report.unanswered.length)} without an answer`,
    ...rejected.flatMap(([code, rejection]) => [
      `  ${code}: ${count(rejection.count)}`,
      ...rejection.examples.map(({ invoice, detail }) => `    invoice ${invoice}: ${detail}`),
    ]),
    ...report.unanswered
      .slice(0, 10)
      .map(({ invoice, detail }) => `  no answer for invoice ${invoice}: ${detail}`),
    `speed       ${report.ordersPerSecond} orders per second over ${report.ordersSeconds} s; p50 ${report.p50Ms} ms, p99 ${report.p99Ms} ms; ${count(report.retries)} retries`,
    `${report.complete ? "Every invoice has its final answer" : "NOT EVERY INVOICE HAS ITS FINAL ANSWER"} (${report.seconds} s in all).`,
  ];
  return lines.join("\n");
}
