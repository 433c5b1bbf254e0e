/** A program that is no part of the shop: `outsider.ts JWKS_URL TOKEN` prints the claims of a token that is good. */
import { createPublicKey } from "node:crypto";
import jwt from "jsonwebtoken";

const [url = "", token = ""] = process.argv.slice(2);
const { keys } = (await (await fetch(url)).json()) as { keys: { kid: string }[] };
const kid = jwt.decode(token, { complete: true })?.header.kid;
const jwk = keys.find((key) => key.kid === kid);
if (!jwk) throw new Error(`${url} has no key ${kid}`);
const claims = jwt.verify(token, createPublicKey({ key: jwk, format: "jwk" }), {
  algorithms: ["ES256"],
  issuer: "concord",
  audience: "concord",
});
console.log(JSON.stringify(claims));
