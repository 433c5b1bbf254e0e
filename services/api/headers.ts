/** Request headers that become ids and preconditions, and the headers that every response carries. */
import type { IncomingMessage } from "node:http";
import { ShopError } from "../../lib/errors.ts";
import { newId } from "../../lib/ids.ts";

/** The client's own request id where it is 1 to 128 visible ASCII characters, else a new one. */
export function requestIdOf(req: IncomingMessage): string {
  const sent = req.headers["x-request-id"];
  return typeof sent === "string" && /^[\x21-\x7e]{1,128}$/.test(sent) ? sent : newId();
}

/** Throws malformed_request unless the key is 1 to 255 visible ASCII characters; a repeated header is none either. */
export function idempotencyKeyOf(req: IncomingMessage): string | undefined {
  const key = req.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key === "string" && /^[\x21-\x7e]{1,255}$/.test(key)) return key;
  throw new ShopError("malformed_request", "The Idempotency-Key must be 1 to 255 visible ASCII characters.", {
    errors: [
      {
        parameter: "Idempotency-Key",
        code: "malformed",
        message: "must be 1 to 255 visible ASCII characters",
      },
    ],
  });
}

/** The token of `Authorization: Bearer …` (RFC 6750), or undefined where the header is absent or of another scheme. */
export function bearerTokenOf(req: IncomingMessage): string | undefined {
  const match = /^Bearer +([^ ]+) *$/i.exec(req.headers.authorization ?? "");
  return match?.[1];
}

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
