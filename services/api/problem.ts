/**
 * Renders any error as problem+json (RFC 9457) by the table in lib/errors.ts. What the client reads was either
 * written for clients (a ShopError below 500) or is fixed text: no stack, SQL, path, host or node ever leaves here.
 */
import { codeOf, ERRORS, type ErrorCode, type Fault } from "../../lib/errors.ts";
import { faultsOf } from "./validation-faults.ts";

export interface Problem {
  status: number;
  code: ErrorCode;
  headers: Record<string, string>;
  body: string;
}

/** The request an error belongs to; `params` and `parameters` only once they are known. */
export interface Failed {
  requestId: string;
  instance: string;
  params?: unknown;
  parameters?: ReadonlySet<string>;
}

interface AnyError {
  type?: unknown;
  message?: unknown;
  data?: {
    errors?: Fault[];
    retryAfter?: number;
    challenge?: string;
    allow?: string;
    [member: string]: unknown;
  } | null;
}

const SERVER_FAULT_DETAIL: Partial<Record<ErrorCode, string>> = {
  internal_error: "The failure was recorded under the requestId of this answer; quote it when you report it.",
  overloaded: "More requests are waiting than can be served in time; try again later.",
  unavailable: "A part of the shop that this request needs cannot be reached; try again later.",
  payment_unavailable: "The payment provider does not answer; nothing was charged, try again later.",
  deadline_exceeded: "The answer did not come in time; the request may still take effect.",
};

/** Members of err.data that are not extension members of the document. */
const RESERVED = new Set(
  "type title status detail instance code errors requestId retryAfter challenge allow cause nodeID action stack".split(
    " ",
  ),
);

export function problemOf(err: unknown, failed: Failed): Problem {
  const code = codeOf(err);
  const { status, title, retryable } = ERRORS[code];
  const { type, message, data } = (err ?? {}) as AnyError;
  const ours = type === code && status < 500;
  const fromValidator = type === "VALIDATION_ERROR";
  const document: Record<string, unknown> = {
    type: `/docs/errors#${code}`,
    title,
    status,
    detail: ours
      ? String(message)
      : (SERVER_FAULT_DETAIL[code] ?? "The request does not match the contract."),
    instance: failed.instance,
    code,
    requestId: failed.requestId,
  };
  if (fromValidator) document.errors = faultsOf(data, failed.params, failed.parameters ?? new Set());
  if (ours && data) {
    if (data.errors) document.errors = data.errors;
    for (const [member, value] of Object.entries(data)) if (!RESERVED.has(member)) document[member] = value;
  }
  const headers: Record<string, string> = { "content-type": "application/problem+json; charset=utf-8" };
  // A client that may try again is told when; one second is longer than any of our breakers' half-open probes takes.
  if (retryable && status !== 408) headers["retry-after"] = String(Math.ceil(data?.retryAfter ?? 1));
  if (status === 405 && data?.allow) headers.allow = data.allow;
  if (status === 401)
    headers["www-authenticate"] =
      `Bearer realm="concord"${data?.challenge ? `, error="${data.challenge}"` : ""}`;
  return { status, code, headers, body: JSON.stringify(document) };
}
