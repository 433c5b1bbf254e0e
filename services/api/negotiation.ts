/** Content negotiation, RFC 9110 section 12, for a server that speaks one media type per resource. */

/** True for application/json without a charset or with UTF-8, the only one JSON has. */
export function isJson(contentType: string | undefined): boolean {
  if (contentType === "application/json") return true;
  return /^application\/json\s*(;\s*charset="?utf-8"?\s*)?;?\s*$/i.test(contentType ?? "");
}

/** True where an Accept header (absent means anything) lets the answer be `produced`, such as "application/json". */
export function accepts(accept: string | undefined, produced: string): boolean {
  if (accept === undefined || accept === "*/*" || accept === produced) return true;
  const family = `${produced.split("/", 1)[0]}/*`;
  // The most specific range decides (RFC 9110, 12.5.1): `application/json;q=0, */*` refuses JSON.
  let best = -1;
  let quality = 0;
  for (const part of accept.split(",")) {
    const [range = "", ...parameters] = part.split(";").map((piece) => piece.trim().toLowerCase());
    const specificity = [`*/*`, family, produced].indexOf(range);
    if (specificity < best || specificity === -1) continue;
    const q = parameters.find((parameter) => parameter.startsWith("q="));
    const value = q === undefined ? 1 : Number(q.slice(2));
    quality = specificity === best ? Math.max(quality, value) : value;
    best = specificity;
  }
  return quality > 0;
}
