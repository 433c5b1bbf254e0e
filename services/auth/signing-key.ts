/** ES256 keys: how they are made, named and shown. Pure but for the randomness. */
import { createHash, generateKeyPair, type JsonWebKey } from "node:crypto";
import { promisify } from "node:util";
import type { PublicJwk } from "./api.ts";

export interface SigningKey {
  kid: string;
  publicJwk: PublicJwk;
  /** Never leaves auth's database and processes. */
  privateJwk: JsonWebKey;
}

export async function makeSigningKey(): Promise<SigningKey> {
  const { privateKey } = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  const privateJwk = privateKey.export({ format: "jwk" });
  const { x, y } = privateJwk;
  if (x === undefined || y === undefined) throw new Error("a P-256 key was exported without its point");
  const kid = thumbprintOf({ x, y });
  return { kid, privateJwk, publicJwk: { kty: "EC", crv: "P-256", x, y, kid, alg: "ES256", use: "sig" } };
}

/** RFC 7638: the SHA-256 of the required members alone, in lexicographic order, without white space. */
export const thumbprintOf = ({ x, y }: { x: string; y: string }): string =>
  createHash("sha256")
    .update(JSON.stringify({ crv: "P-256", kty: "EC", x, y }))
    .digest("base64url");
