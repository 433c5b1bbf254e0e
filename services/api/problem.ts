/** Renders any error as problem+json (RFC 9457) with its HTTP status and headers. */
import { ERRORS, type ErrorCode } from "../../lib/errors.ts";
import { type Failed, failureOf } from "../../lib/failure.ts";

export interface Problem {
  status: number;
  code: ErrorCode;
  headers: Record<string, string>;
  body: string;
}

export function problemOf(err: unknown, failed: Failed): Problem {
  const { code, document, retryAfter, challenge, allow } = failureOf(err, failed);
  const { status } = ERRORS[code];
  const headers: Record<string, string> = { "content-type": "application/problem+json; charset=utf-8" };
  if (retryAfter !== undefined) headers["retry-after"] = String(retryAfter);
  if (status === 405 && allow) headers.allow = allow;
  if (status === 401)
    headers["www-authenticate"] = `Bearer realm="concord"${challenge ? `, error="${challenge}"` : ""}`;
  return { status, code, headers, body: JSON.stringify(document) };
}
