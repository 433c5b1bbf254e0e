/** Refresh tokens, pure: 256 random bits for the holder, their SHA-256 for us. A stolen table opens no account. */
import { createHash, randomBytes } from "node:crypto";

export const REFRESH_TOKEN_DAYS = 30;
const RANDOM_BYTES = 32;

export interface RefreshToken {
  /** Given to the holder once and never stored. */
  token: string;
  hash: Buffer;
}

export function makeRefreshToken(): RefreshToken {
  const token = randomBytes(RANDOM_BYTES).toString("base64url");
  return { token, hash: hashOf(token) };
}

/** No salt and no stretching: 256 random bits cannot be guessed. */
export const hashOf = (token: string): Buffer => createHash("sha256").update(token).digest();
