/**
 * The one table of everything that can go wrong: stable code, HTTP status, gRPC code, whether the same call may
 * succeed when repeated, and the title a person reads. Errors cross the network as plain objects, so callers branch
 * on `err.type`, never on a class. A no vote or a declined card is a value inside the protocol and becomes one of
 * these only at the edge.
 */
import { Errors } from "moleculer";

interface ErrorRow {
  readonly status: number;
  readonly grpc: string;
  readonly retryable: boolean;
  readonly title: string;
}

const row = (status: number, grpc: string, retryable: boolean, title: string): ErrorRow => ({
  status,
  grpc,
  retryable,
  title,
});

export const ERRORS = {
  malformed_request: row(400, "INVALID_ARGUMENT", false, "The request cannot be parsed"),
  unauthorized: row(401, "UNAUTHENTICATED", false, "Authentication is required"),
  invalid_credentials: row(401, "UNAUTHENTICATED", false, "The credentials are wrong"),
  payment_declined: row(402, "FAILED_PRECONDITION", false, "The payment was declined"),
  forbidden: row(403, "PERMISSION_DENIED", false, "This is not allowed to you"),
  not_found: row(404, "NOT_FOUND", false, "Not found"),
  method_not_allowed: row(405, "UNIMPLEMENTED", false, "The method is not allowed here"),
  not_acceptable: row(406, "INVALID_ARGUMENT", false, "No acceptable representation"),
  request_timeout: row(408, "DEADLINE_EXCEEDED", true, "The request did not arrive in time"),
  insufficient_stock: row(409, "FAILED_PRECONDITION", false, "Not enough stock"),
  price_changed: row(409, "FAILED_PRECONDITION", false, "The price has changed"),
  product_gone: row(409, "FAILED_PRECONDITION", false, "The product is no longer sold"),
  refused_elsewhere: row(409, "FAILED_PRECONDITION", false, "A participant outside the shop refused"),
  stock_reserved: row(409, "FAILED_PRECONDITION", false, "The stock cannot fall that low"),
  email_taken: row(409, "ALREADY_EXISTS", false, "The email address is taken"),
  sku_taken: row(409, "ALREADY_EXISTS", false, "The SKU is taken"),
  request_in_progress: row(409, "ABORTED", true, "A request with this key is still running"),
  vote_missing: row(409, "FAILED_PRECONDITION", false, "A vote is missing"),
  outcome_contradicted: row(409, "FAILED_PRECONDITION", false, "The register holds the other outcome"),
  transaction_undecided: row(409, "FAILED_PRECONDITION", false, "The transaction is not decided yet"),
  transaction_forgotten: row(409, "FAILED_PRECONDITION", false, "The transaction is too old to be decided"),
  not_in_doubt: row(409, "FAILED_PRECONDITION", false, "Nothing is in doubt there"),
  version_stale: row(412, "ABORTED", false, "The resource has changed"),
  body_too_large: row(413, "INVALID_ARGUMENT", false, "The body is too large"),
  uri_too_long: row(414, "INVALID_ARGUMENT", false, "The URL is too long"),
  unsupported_media_type: row(415, "INVALID_ARGUMENT", false, "The content type is not supported"),
  validation_failed: row(422, "INVALID_ARGUMENT", false, "The request is not valid"),
  key_reused: row(422, "INVALID_ARGUMENT", false, "The idempotency key was used with another body"),
  too_many_requests: row(429, "RESOURCE_EXHAUSTED", true, "Too many requests"),
  headers_too_large: row(431, "INVALID_ARGUMENT", false, "The headers are too large"),
  internal_error: row(500, "INTERNAL", false, "Something went wrong on our side"),
  overloaded: row(503, "RESOURCE_EXHAUSTED", true, "The shop is overloaded"),
  unavailable: row(503, "UNAVAILABLE", true, "The service is unavailable"),
  payment_unavailable: row(503, "UNAVAILABLE", true, "The payment provider is unavailable"),
  deadline_exceeded: row(504, "DEADLINE_EXCEEDED", true, "The deadline passed"),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

/** One fault in a request: where it is (JSON pointer into the body, or a query, path or header parameter) and what. */
export interface Fault {
  pointer?: string;
  parameter?: string;
  code: string;
  message: string;
}

export interface ErrorExtra {
  /** Every fault of a 400 or 422, in document order. */
  errors?: Fault[];
  /** Seconds after which a retry is worth it; becomes the Retry-After header. */
  retryAfter?: number;
  /** Further members of the problem document, such as `productId` and `available`. */
  [member: string]: unknown;
}

/** An expected failure. `detail` is read by the client: it says what failed, with which value, and what to do. */
export class ShopError extends Errors.MoleculerError {
  constructor(type: ErrorCode, detail: string, extra: ErrorExtra = {}) {
    super(detail, ERRORS[type].status, type, extra);
    this.name = "ShopError";
    this.retryable = ERRORS[type].retryable;
  }
}

/** True where `err` (ours, or one that crossed the network) is of this type. */
export function isError(err: unknown, type: ErrorCode): boolean {
  return (err as { type?: string } | null)?.type === type;
}

/** The framework's errors for a node, or a message server, that is not there (any more). */
const OUT_OF_REACH = new Set([
  "SERVICE_NOT_FOUND",
  "SERVICE_NOT_AVAILABLE",
  "REQUEST_REJECTED",
  "BAD_GATEWAY",
]);

/** True for the code of an error that says nobody was there to answer: ours, or the framework's. */
export const isOutOfReach = (code: unknown): boolean =>
  code === ("unavailable" satisfies ErrorCode) || OUT_OF_REACH.has(String(code));

/** What Moleculer throws of its own accord. Its HTTP codes are not taken: an open circuit is a 404 to it. */
const FRAMEWORK: Record<string, ErrorCode> = {
  VALIDATION_ERROR: "validation_failed",
  SERVICE_NOT_FOUND: "unavailable",
  SERVICE_NOT_AVAILABLE: "unavailable",
  REQUEST_REJECTED: "unavailable",
  BAD_GATEWAY: "unavailable",
  QUEUE_FULL: "overloaded",
  REQUEST_TIMEOUT: "deadline_exceeded",
  REQUEST_SKIPPED: "deadline_exceeded",
};

/** The row of the table that an error belongs to, whoever threw it. */
export function codeOf(err: unknown): ErrorCode {
  const { type, retryable } = (err ?? {}) as { type?: unknown; retryable?: unknown };
  if (typeof type !== "string") return "internal_error";
  // Its node is gone, and it may have taken effect there: that is not the same as nobody having been there.
  if (type === "REQUEST_REJECTED" && retryable === false) return "deadline_exceeded";
  if (Object.hasOwn(ERRORS, type)) return type as ErrorCode;
  return Object.hasOwn(FRAMEWORK, type) ? (FRAMEWORK[type] as ErrorCode) : "internal_error";
}
