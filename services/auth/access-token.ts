/** Access tokens (RFC 9068): what they say and for how long. Whoever has the public keys verifies them alone. */
import type { KeyObject } from "node:crypto";
import jwt from "jsonwebtoken";
import { newId } from "../../lib/ids.ts";
import type { Identity } from "../user/api.ts";

export const ACCESS_TOKEN_SECONDS = 15 * 60;
const ISSUER = "concord";
const AUDIENCE = "concord";

/** An ES256 signature takes 0.1 ms, so it stays on the event loop. */
export function signAccessToken(identity: Identity, signer: { kid: string; key: KeyObject }): string {
  return jwt.sign({ roles: identity.roles }, signer.key, {
    algorithm: "ES256",
    keyid: signer.kid,
    header: { alg: "ES256", typ: "at+jwt" },
    issuer: ISSUER,
    audience: AUDIENCE,
    subject: identity.id,
    expiresIn: ACCESS_TOKEN_SECONDS,
    jwtid: newId(),
  });
}
