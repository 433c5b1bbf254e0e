/** What an error of PostgreSQL, or of the way to it, says. */
import { ShopError } from "../lib/errors.ts";

/** SQLSTATE of a PostgreSQL error, or undefined for any other error. */
export const sqlState = (err: unknown): string | undefined => {
  const code = (err as { code?: unknown } | null)?.code;
  // By its class, because the system has codes of five letters, too: EPIPE.
  return typeof code === "string" && /^([0-5][0-9A-Z]|F0|HV|P0|XX)[0-9A-Z]{3}$/.test(code) ? code : undefined;
};

/**
 * Serialization failure, deadlock, lost connection, no room, a server that is shutting down, a standby, or a disk that
 * fails: the same work may succeed when repeated. Not our own limits on statements and transactions (57014, 25P0x): those speak of the work.
 */
const TRANSIENT = /^(08|25006|40001|40P01|53|55P03|57P0|58030)/;
const NO_WAY = /^(ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)/;
/** What pg says without a code: where there is no connection to be had, and where one has gone. */
const NO_CONNECTION =
  /^(timeout e|Connection terminated due to|Client (was|has) .*not queryable)|^Cannot use a pool after/;
const CONNECTION_GONE = /^Connection terminated( unexpectedly)?$|^Query read timeout$/;

interface SystemError {
  code?: string;
  message?: string;
}

export function isTransient(err: unknown): boolean {
  const state = sqlState(err);
  if (state !== undefined) return TRANSIENT.test(state);
  const { code = "", message = "" } = err as SystemError;
  return NO_WAY.test(code) || NO_CONNECTION.test(message) || CONNECTION_GONE.test(message);
}

/** Errors of connections that never were: a proxy whose server is away accepts, and breaks off, too. */
const unsent = new WeakSet<Error>();

/** Says of the error that no query had been sent by then. */
export function beforeAnyQuery(err: Error): Error {
  unsent.add(err);
  return err;
}

/** True where the connection went, or the server crashed, under a query: it may have taken effect. */
export function isBroken(err: unknown): boolean {
  if (unsent.has(err as Error)) return false;
  const state = sqlState(err);
  if (state !== undefined) return /^(08|57P02)/.test(state);
  const { code = "", message = "" } = err as SystemError;
  return /^(ECONNRESET|EPIPE|ETIMEDOUT)$/.test(code) || CONNECTION_GONE.test(message);
}

/** Errors with a type were made for the caller. */
const isMadeForCaller = (err: unknown): boolean =>
  typeof (err as { type?: unknown } | null)?.type === "string";

/** Turns a failure of the server into the error a caller may retry; every other error passes as it is. */
export function unavailable(err: unknown): unknown {
  if (isMadeForCaller(err) || !isTransient(err)) return err;
  // For the log; clients get fixed text.
  const why = (err as Error).message || (err as SystemError).code;
  return new ShopError("unavailable", `The database cannot be used now: ${why}`, { retryAfter: 1 });
}

/** The same for work that may not be done twice: where it may have been done, no caller is told to do it again. */
export function unavailableOnce(err: unknown): unknown {
  if (isMadeForCaller(err) || !isBroken(err)) return unavailable(err);
  return new ShopError(
    "deadline_exceeded",
    `The connection to the database went meanwhile: ${(err as Error).message}`,
    { retryAfter: 1 },
  );
}
