import { createPrivateKey, createPublicKey, sign, verify } from "node:crypto";
import { expect, test } from "@jest/globals";
import { makeSigningKey, thumbprintOf } from "../../../services/auth/signing-key.ts";

test("the thumbprint of RFC 7517's example key is the published one", () => {
  const point = {
    x: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
  };
  expect(thumbprintOf(point)).toBe("cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
});

test("a made key is a pair of P-256 whose public half says nothing of the private one", async () => {
  const { kid, publicJwk, privateJwk } = await makeSigningKey();
  expect(publicJwk).toEqual({
    kty: "EC",
    crv: "P-256",
    x: privateJwk.x,
    y: privateJwk.y,
    kid,
    alg: "ES256",
    use: "sig",
  });
  const signature = sign("sha256", Buffer.from("text"), createPrivateKey({ key: privateJwk, format: "jwk" }));
  const publicKey = createPublicKey({ key: { ...publicJwk }, format: "jwk" });
  expect(verify("sha256", Buffer.from("text"), publicKey, signature)).toBe(true);
});
