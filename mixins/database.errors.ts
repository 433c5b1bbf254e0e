/** What an error of PostgreSQL, or of the way to it, says. */
import { ShopError } from "../lib/errors.ts";

/** SQLSTATE of a PostgreSQL error, or undefined for any other error. */
export const sqlState = (err: unknown): string | undefined => {
  const code = (err as { code?: unknown } | null)?.code;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
};

/** Serialization failure, deadlock, lost connection, server shutting down: the same work may succeed when repeated. */
export function isTransient(err: unknown): boolean {
  const state = sqlState(err);
  if (state !== undefined) return /^(08|40001|40P01|53|55P03|57P0)/.test(state);
  const { code, message } = err as { code?: string; message?: string };
  return /^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND)/.test(code ?? "") || /connection|timeout/i.test(message ?? "");
}

/** Turns a failure of the server into the error a caller may retry; every other error passes as it is, above all those
 *  that have a type: they were made for the caller. */
export function unavailable(err: unknown): unknown {
  const isTyped = typeof (err as { type?: unknown } | null)?.type === "string";
  return !isTyped && isTransient(err)
    ? new ShopError("unavailable", "The database cannot be reached; try again.", { retryAfter: 1 })
    : err;
}
