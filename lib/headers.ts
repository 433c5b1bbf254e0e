/** What a client may send beside its request, by the same rules in HTTP headers and in gRPC metadata. */
import { ShopError } from "./errors.ts";
import { newId } from "./ids.ts";

/** The client's own request id where it is 1 to 128 visible ASCII characters, else a new one. */
export const requestIdOf = (sent: unknown): string =>
  typeof sent === "string" && /^[\x21-\x7e]{1,128}$/.test(sent) ? sent : newId();

/** Throws malformed_request unless the key is 1 to 255 visible ASCII characters; a repeated one is none either. */
export function idempotencyKeyOf(key: unknown): string | undefined {
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

/** The token of `Bearer …` (RFC 6750), or undefined where there is none or it is of another scheme. */
export const bearerTokenOf = (authorization: unknown): string | undefined =>
  /^Bearer +([^ ]+) *$/i.exec(typeof authorization === "string" ? authorization : "")?.[1];
