/** The headers that every response carries, and CORS. */
import type { IncomingMessage } from "node:http";

/**
 * The header fields of any response. Answers are one person's and of one moment, so they are stored nowhere unless an
 * action sets Cache-Control; they are data, so a browser that is led to one may run and frame nothing.
 */
export function responseHeaders(requestId: string): Record<string, string> {
  return {
    "x-request-id": requestId,
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
  };
}

const EXPOSED =
  "Age, Cache-Status, ETag, Idempotency-Replayed, Location, Retry-After, WWW-Authenticate, X-Request-Id";
const ALLOWED = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id";

/** CORS fields for an origin on the list, compared exactly (`https://shop.example.co` is not `….com`); else none. */
export function corsHeaders(req: IncomingMessage, origins: readonly string[]): Record<string, string> {
  if (origins.length === 0) return {};
  const { origin } = req.headers;
  if (origin === undefined || !origins.includes(origin)) return { vary: "Origin" };
  return { vary: "Origin", "access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED };
}

/** What a preflight request is answered on top of corsHeaders. */
export const preflightHeaders = (allow: string): Record<string, string> => ({
  "access-control-allow-methods": allow,
  "access-control-allow-headers": ALLOWED,
  "access-control-max-age": "600",
});
