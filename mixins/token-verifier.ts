/**
 * Verifies access tokens locally, against the public keys that the auth service publishes. Nothing in a token chooses
 * how it is checked: the algorithm is pinned, the key comes from our own set by its kid, every claim is required.
 * Verified tokens are remembered until they expire, because one ES256 verification costs more than the rest of a route.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto";
import jwt from "jsonwebtoken";
import { LRUCache } from "lru-cache";
import { ShopError } from "../lib/errors.ts";
import { isId } from "../lib/ids.ts";

export interface Principal {
  id: string;
  roles: string[];
}

/** RFC 7517, as far as we publish it. */
export type Jwk = JsonWebKey & { kid?: string; alg?: string; use?: string };

export interface TokenVerifierOptions {
  fetchKeys(): Promise<{ keys: Jwk[] }>;
  /** Milliseconds since the epoch; tests bring their own. */
  now?: () => number;
}

export const ISSUER = "concord";
export const AUDIENCE = "concord";
/** Ours are about 500 bytes. */
const TOKEN_CHARS_MAX = 4_096;
/** About 10 MB at the most. */
const REMEMBERED_MAX = 10_000;
/** Tokens with invented kids must not become load on auth. */
const REFETCH_EVERY_MS = 5_000;
/** A key that auth has withdrawn is honoured no longer than this. */
const KEYS_FRESH_MS = 60_000;

interface Remembered {
  principal: Principal;
  /** Milliseconds since the epoch. */
  expiresAt: number;
  kid: string;
}

export class TokenVerifier {
  readonly #fetchKeys: TokenVerifierOptions["fetchKeys"];
  readonly #now: () => number;
  readonly #verified = new LRUCache<string, Remembered>({ max: REMEMBERED_MAX });
  #keys = new Map<string, KeyObject>();
  #attemptedAt = Number.NEGATIVE_INFINITY;
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;

  constructor({ fetchKeys, now = Date.now }: TokenVerifierOptions) {
    this.#fetchKeys = fetchKeys;
    this.#now = now;
  }

  /** Who holds the token. Throws unauthorized (401), or whatever fetching keys throws while we have none. */
  async verify(token: string): Promise<Principal> {
    const now = this.#now();
    if (now - this.#fetchedAt >= KEYS_FRESH_MS) {
      const refreshing = this.#refresh(now);
      // With keys in hand nobody waits: an auth service that hangs must not hold up every request.
      if (this.#keys.size === 0) await refreshing;
    }
    const known = this.#verified.get(token);
    if (known && known.expiresAt > now) return known.principal;
    const kid = kidOf(token);
    if (!this.#keys.has(kid)) await this.#refresh(now);
    const key = this.#keys.get(kid);
    if (!key) throw invalid("it was not signed by a key of this shop");
    const claims = claimsOf(token, key, now);
    const principal = { id: claims.sub, roles: claims.roles };
    this.#verified.set(token, { principal, expiresAt: claims.exp * 1_000, kid });
    return principal;
  }

  /** Called when the keys have changed: a token with an unknown kid fetches them at once. */
  allowRefetch(): void {
    this.#attemptedAt = Number.NEGATIVE_INFINITY;
  }

  /** Fetches the keys, at most once per REFETCH_EVERY_MS; callers that meet share one fetch. */
  async #refresh(now: number): Promise<void> {
    if (!this.#fetching) {
      if (now - this.#attemptedAt < REFETCH_EVERY_MS) {
        if (this.#keys.size > 0) return;
        throw new ShopError("unavailable", "The signing keys are not known yet.", { retryAfter: 5 });
      }
      this.#attemptedAt = now;
      this.#fetching = this.#replaceKeys(now).finally(() => {
        this.#fetching = undefined;
      });
    }
    try {
      await this.#fetching;
    } catch (err) {
      // While auth is away the keys we have stay good: a token cannot be signed by a key that nobody issued.
      if (this.#keys.size === 0) throw err;
    }
  }

  async #replaceKeys(now: number): Promise<void> {
    const { keys } = await this.#fetchKeys();
    const usable = keys.filter((jwk) => jwk.kid && jwk.kty === "EC" && jwk.crv === "P-256");
    this.#keys = new Map(
      usable.map((jwk) => [jwk.kid as string, createPublicKey({ key: jwk, format: "jwk" })]),
    );
    this.#fetchedAt = now;
    for (const [token, { kid }] of this.#verified.entries())
      if (!this.#keys.has(kid)) this.#verified.delete(token);
  }
}

function kidOf(token: string): string {
  if (token.length > TOKEN_CHARS_MAX) throw invalid("it is too long");
  let header: Record<string, unknown> | undefined;
  try {
    header = jwt.decode(token, { complete: true })?.header as unknown as Record<string, unknown> | undefined;
  } catch {
    header = undefined; // a header or payload that is not JSON
  }
  if (!header) throw invalid("it is not a JSON Web Token");
  if (header.alg !== "ES256") throw invalid("its algorithm is not ES256");
  if (header.typ !== "at+jwt") throw invalid("it is not an access token");
  // An extension we do not understand must not be ignored (RFC 7515, 4.1.11), and we understand none.
  if (header.crit !== undefined) throw invalid("it needs an extension that is not known here");
  if (typeof header.kid !== "string") throw invalid("it names no key");
  return header.kid;
}

function claimsOf(token: string, key: KeyObject, now: number): { sub: string; roles: string[]; exp: number } {
  let claims: jwt.JwtPayload | string;
  try {
    claims = jwt.verify(token, key, {
      algorithms: ["ES256"],
      issuer: ISSUER,
      audience: AUDIENCE,
      clockTimestamp: Math.floor(now / 1_000),
    });
  } catch (err) {
    // The library's own words ("jwt expired") are about the token alone.
    throw invalid((err as Error).message);
  }
  if (typeof claims !== "object") throw invalid("its payload is not an object");
  const { sub, exp, jti, roles } = claims as jwt.JwtPayload & { roles?: unknown };
  if (!isId(sub)) throw invalid("it has no subject");
  if (typeof exp !== "number") throw invalid("it does not expire");
  if (typeof jti !== "string" || jti === "") throw invalid("it has no id");
  if (!Array.isArray(roles) || !roles.every((role) => typeof role === "string"))
    throw invalid("it has no roles");
  return { sub, roles, exp };
}

const invalid = (reason: string): ShopError =>
  new ShopError("unauthorized", `The access token is not accepted: ${reason}.`, {
    challenge: "invalid_token",
  });
