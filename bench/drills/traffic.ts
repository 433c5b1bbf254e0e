/** What the drill and its generator say to each other, and what a drill reads out of the answers. */
import type { ShopAnswer } from "../../scripts/replay/shop-client.ts";

export type Kind = "order" | "read" | "login";

/** One request of a customer, with all its repeats, from when it was due to its final answer. */
export interface Request {
  kind: Kind;
  /** When it was due, by the machine's monotonic clock, which all processes share, in milliseconds. */
  sentAt: number;
  tookMs: number;
  /** `ok`, or what it ended with. */
  outcome: string;
  attempts: number;
  /** What the last attempt was refused with bore a Retry-After. */
  retryAfter?: boolean;
}

/** What customers do: the share of orders (the rest are reads and logins, three to one), and of these what the bank declines. */
export interface Mix {
  orders: number;
  declined: number;
}

export const USUAL: Mix = { orders: 0.6, declined: 0 };

export type Command =
  | { kind: "closed"; clients: number; seconds: number; mix: Mix }
  /** `repeats`: whether clients repeat what they may. `stubPerSecond`: requests beside, to a server that refuses all. */
  | { kind: "open"; perSecond: number; repeats: boolean; stubPerSecond: number; mix: Mix }
  | { kind: "end" };

export type Answer =
  | { kind: "ready" }
  | { kind: "failed"; message: string }
  | { kind: "measured"; perSecond: number; failed: Record<string, number> }
  | { kind: "sent"; requests: Request[]; orderIds: string[]; cpuShare: number; seconds: number };

/** A request without a final answer after so long has failed. */
export const ANSWER_MS_MAX = 5_000;

/**
 * Customers repeat, with the same key, what the contract says is not over and comes with Retry-After: "not now" (503) and
 * "not decided in time" (504); their own attempt that is still at work; and an order that is pending. Nothing else, though
 * other answers, too, might be another one a moment later.
 */
export const isFinal = ({ status, body }: ShopAnswer<{ code?: string }>): boolean =>
  ![202, 503, 504].includes(status) && !(status === 409 && body.code === "request_in_progress");

export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;

export const failed = (requests: readonly Request[]): Request[] =>
  requests.filter(({ outcome }) => outcome !== "ok");

export const sentBetween = (requests: readonly Request[], from: number, until: number): Request[] =>
  requests.filter(({ sentAt }) => sentAt >= from && sentAt < until);

/** What the failed ones ended with, and how many of each. */
export function outcomes(requests: readonly Request[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind, outcome } of failed(requests))
    counts[`${kind}: ${outcome}`] = (counts[`${kind}: ${outcome}`] ?? 0) + 1;
  return counts;
}
