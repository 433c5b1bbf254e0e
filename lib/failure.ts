/**
 * What a client may hear of an error, by the table in lib/errors.ts and whichever way it called: either what was written
 * for clients (a ShopError below 500) or fixed text. No stack, SQL, path, host or node ever leaves through here.
 */
import { codeOf, ERRORS, type ErrorCode, type Fault } from "./errors.ts";
import { faultsOf } from "./faults.ts";

/** The request an error belongs to; `params` and `parameters` only once they are known. */
export interface Failed {
  requestId: string;
  instance: string;
  params?: unknown;
  parameters?: ReadonlySet<string>;
}

export interface Failure {
  code: ErrorCode;
  /** The problem document (RFC 9457). */
  document: Record<string, unknown>;
  /** Whole seconds after which a client may try again, where that may help. */
  retryAfter: number | undefined;
  challenge: string | undefined;
  allow: string | undefined;
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

export function failureOf(err: unknown, failed: Failed): Failure {
  const code = codeOf(err);
  const { status, title, retryable } = ERRORS[code];
  const { type, message, data } = (err ?? {}) as AnyError;
  const ours = type === code && status < 500;
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
  if (type === "VALIDATION_ERROR")
    document.errors = faultsOf(data, failed.params, failed.parameters ?? new Set());
  if (ours && data) {
    if (data.errors) document.errors = data.errors;
    for (const [member, value] of Object.entries(data)) if (!RESERVED.has(member)) document[member] = value;
  }
  return {
    code,
    document,
    // Where nobody says how long it takes: soon, because a refusal costs next to nothing.
    retryAfter: retryable && status !== 408 ? Math.ceil(data?.retryAfter ?? 1) : undefined,
    challenge: data?.challenge,
    allow: data?.allow,
  };
}
