/** Identifies a request, so that one txId with two different requests is noticed. */
import { hash } from "node:crypto";

/** SHA-256 over the JSON text of a request, base64url. The sender computes it once, so members keep their order. */
export const requestHash = (json: string): string => hash("sha256", json, "base64url");
