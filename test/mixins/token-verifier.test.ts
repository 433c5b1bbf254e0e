import { createHmac } from "node:crypto";
import { beforeEach, describe, expect, jest, test } from "@jest/globals";
import { type Jwk, TokenVerifier } from "../../mixins/token-verifier.ts";
import { type Signer, signer, USER_ID } from "../services/api/gateway.ts";

const ours = signer();
let published: Signer[];
let now: number;
const fetchKeys = jest.fn(async () => ({ keys: published.map((key) => key.jwk as Jwk) }));
let verifier: TokenVerifier;

beforeEach(() => {
  published = [ours];
  now = Date.now();
  fetchKeys.mockClear();
  verifier = new TokenVerifier({ fetchKeys, now: () => now });
});

const seconds = (n: number): number => Math.floor(Date.now() / 1_000) + n;

/** A token with this header and signature over these claims, whatever they are. */
function forged(header: object, claims: object, sign: (input: string) => string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const input = `${part(header)}.${part(claims)}`;
  return `${input}.${sign(input)}`;
}
const claims = {
  iss: "concord",
  aud: "concord",
  sub: USER_ID,
  jti: "1",
  exp: seconds(900),
  roles: ["admin"],
};

describe("a token", () => {
  test("names its holder and the holder's roles", async () => {
    await expect(verifier.verify(ours.sign({ roles: ["user", "admin"] }))).resolves.toEqual({
      id: USER_ID,
      roles: ["user", "admin"],
    });
  });

  test.each<[string, string]>([
    ["another issuer", ours.sign({ iss: "evil" })],
    ["another audience", ours.sign({ aud: "evil" })],
    ["no issuer", ours.sign({ iss: undefined })],
    ["no audience", ours.sign({ aud: undefined })],
    ["no expiry", ours.sign({ exp: undefined })],
    ["an expiry in the past", ours.sign({ exp: seconds(-1) })],
    ["a start in the future", ours.sign({ nbf: seconds(600) })],
    ["no id", ours.sign({ jti: undefined })],
    ["a subject that is no user's id", ours.sign({ sub: "admin" })],
    ["roles that are no list", ours.sign({ roles: "admin" })],
    ["the type of an id token", ours.sign({}, { typ: "JWT" })],
    ["an extension nobody knows", ours.sign({}, { crit: ["exp"], b64: true })],
    ["a key of nobody's", ours.sign({}, { kid: "unknown" })],
    ["no key's name", ours.sign({}, { kid: undefined })],
    ["a signature by another key of the same name", signer(ours.kid).sign()],
    ["no signature", forged({ alg: "none", typ: "at+jwt", kid: ours.kid }, claims, () => "")],
    [
      "a signature by the public key as a shared secret",
      forged({ alg: "HS256", typ: "at+jwt", kid: ours.kid }, claims, (input) =>
        createHmac("sha256", JSON.stringify(ours.jwk)).update(input).digest("base64url"),
      ),
    ],
    [
      "a changed payload",
      ours.sign().replace(/\.[^.]+\./, `.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.`),
    ],
    ["a length beyond any of ours", `${ours.sign()}${"A".repeat(5_000)}`],
    ["no parts", "x"],
    ["a header that is not JSON", "eyJ.eyJ.eyJ"],
  ])("is refused with %s", async (_, token) => {
    await expect(verifier.verify(token)).rejects.toMatchObject({
      type: "unauthorized",
      data: { challenge: "invalid_token" },
    });
  });

  test("is remembered, but not beyond its expiry", async () => {
    const token = ours.sign({ exp: seconds(30) });
    await verifier.verify(token);
    now += 29_000;
    await expect(verifier.verify(token)).resolves.toMatchObject({ id: USER_ID });
    now += 2_000;
    await expect(verifier.verify(token)).rejects.toMatchObject({ type: "unauthorized" });
  });
});

describe("the keys", () => {
  test("are fetched once for many tokens", async () => {
    await Promise.all([1, 2, 3].map((n) => verifier.verify(ours.sign({ jti: String(n) }))));
    expect(fetchKeys).toHaveBeenCalledTimes(1);
  });

  test("are fetched again for an unknown one, at most every 5 s", async () => {
    await verifier.verify(ours.sign());
    const added = signer("key-2");
    published = [ours, added];
    await expect(verifier.verify(added.sign())).rejects.toMatchObject({ type: "unauthorized" });
    now += 5_000;
    await expect(verifier.verify(added.sign())).resolves.toMatchObject({ id: USER_ID });
    await Promise.all(
      [1, 2, 3].map((n) => verifier.verify(ours.sign({}, { kid: `x${n}` })).catch(() => undefined)),
    );
    expect(fetchKeys).toHaveBeenCalledTimes(2);
  });

  test("that are withdrawn take their remembered tokens with them", async () => {
    const token = ours.sign();
    await verifier.verify(token);
    published = [signer("key-2")];
    now += 60_000;
    await verifier.verify(token); // starts the refresh and does not wait for it
    await expect(verifier.verify(token)).rejects.toMatchObject({ type: "unauthorized" });
  });

  test("stay good while auth is away", async () => {
    await verifier.verify(ours.sign());
    fetchKeys.mockRejectedValueOnce(new Error("away"));
    now += 60_000;
    await expect(verifier.verify(ours.sign({ jti: "2" }))).resolves.toMatchObject({ id: USER_ID });
    expect(fetchKeys).toHaveBeenCalledTimes(2);
  });

  test("that were never fetched make no token bad", async () => {
    fetchKeys.mockRejectedValueOnce(Object.assign(new Error("away"), { type: "SERVICE_NOT_FOUND" }));
    await expect(verifier.verify(ours.sign())).rejects.toMatchObject({ type: "SERVICE_NOT_FOUND" });
    await expect(verifier.verify(ours.sign())).rejects.toMatchObject({ type: "unavailable" });
  });
});
