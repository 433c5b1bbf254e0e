/** The ETag of a product, and what an If-Match says of it (RFC 9110, 13.1.1). */
import { hash } from "node:crypto";
import type { Product } from "./api.ts";

/** The version leads, so that the ETag of a GET also serves as If-Match of a PUT, whatever the stock did meanwhile. */
export const etagOf = (product: Product): string =>
  `"${product.version}-${hash("sha256", JSON.stringify(product), "base64url").slice(0, 16)}"`;

/**
 * The versions that an If-Match lists, as `"3"`, `3` or an ETag of ours; undefined where any will do, which is what `*`
 * and absence mean. A weak tag is none of them, because If-Match compares strongly.
 */
export function versionsOf(ifMatch: string | undefined): number[] | undefined {
  if (ifMatch === undefined || ifMatch === "*") return undefined;
  const tags = ifMatch.match(/(?:W\/)?"[^"]*"|[^\s,]+/g) ?? [];
  return tags.flatMap((tag) => /^("?)(\d{1,9})(?:-[\w-]+)?\1$/.exec(tag)?.[2] ?? []).map(Number);
}
