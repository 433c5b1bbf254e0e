import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import jwt from "jsonwebtoken";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { login, PASSWORD, register, verified } from "./client.ts";

let shop: TestShop;
beforeAll(async () => {
  shop = await startTestShop({ services: ["auth", "user"] });
});
afterAll(() => shop.stop());

describe("login", () => {
  test("answers an access token of 15 minutes and a refresh token of 256 bits", async () => {
    const { email } = await register(shop);
    expect(await login(shop, email)).toEqual({
      accessToken: expect.any(String),
      tokenType: "Bearer",
      expiresIn: 900,
      refreshToken: expect.stringMatching(/^[\w-]{43}$/),
    });
  });

  test("takes the address in any case and with white space around it", async () => {
    const { email } = await register(shop);
    await expect(login(shop, ` ${email.toUpperCase()}`)).resolves.toHaveProperty("accessToken");
  });

  test("signs a token that says who, for whom, from when, until when, and nothing else", async () => {
    const { id, email } = await register(shop);
    const { accessToken } = await login(shop, email);
    const claims = await verified(shop, accessToken);
    expect(claims).toEqual({
      iss: "concord",
      aud: "concord",
      sub: id,
      roles: ["user"],
      iat: expect.any(Number),
      exp: (claims.iat as number) + 900,
      jti: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/),
    });
    expect(jwt.decode(accessToken, { complete: true })?.header).toEqual({
      alg: "ES256",
      typ: "at+jwt",
      kid: expect.any(String),
    });
  });

  test("answers a wrong password and an unknown account alike", async () => {
    const { email } = await register(shop);
    const wrong = await refusalOf(login(shop, email, { password: "wrong horse" }));
    const unknown = await refusalOf(login(shop, "nobody@example.com"));
    expect(wrong).toMatchObject({ code: 401, type: "invalid_credentials" });
    expect(unknown).toEqual(wrong);
  });

  test.each([
    ["an unknown member", { admin: true }],
    ["a missing password", { password: undefined }],
    ["an address that is not text", { email: 1 }],
    ["an address with a zero character", { email: "a\0@example.com" }],
    ["a password of more characters than any has", { password: "x".repeat(1_025) }],
  ])("refuses %s as invalid", async (_what, fault) => {
    const params = { email: "a@example.com", password: PASSWORD, ...fault };
    await expect(shop.broker.call("auth.login", params)).rejects.toMatchObject({ code: 422 });
  });
});

describe("the throttle", () => {
  test("stops the eleventh attempt, even with the right password, but not from another address", async () => {
    const { email } = await register(shop);
    await failTenTimes(email);
    const refusal = await refusalOf(login(shop, email));
    expect(refusal).toMatchObject({ code: 429, type: "too_many_requests" });
    expect(refusal.data.retryAfter).toBeGreaterThan(14 * 60);
    expect(refusal.data.retryAfter).toBeLessThanOrEqual(15 * 60);
    await expect(login(shop, email, { clientAddress: "192.0.2.2" })).resolves.toHaveProperty("accessToken");
  });

  test("lets any number of right passwords in at once", async () => {
    const { email } = await register(shop);
    const answers = await Promise.all(Array.from({ length: 16 }, () => login(shop, email)));
    expect(answers).toHaveLength(16);
  });

  test("judges ten of any number of wrong passwords at once", async () => {
    const { email } = await register(shop);
    const refusals = await Promise.all(
      Array.from({ length: 30 }, () => refusalOf(login(shop, email, { password: "wrong horse" }))),
    );
    const late = refusals.filter(({ type }) => type !== "invalid_credentials");
    expect(late).toHaveLength(20);
    for (const { type, data } of late) {
      expect(type).toBe("too_many_requests");
      expect(data.retryAfter).toBeGreaterThan(14 * 60);
    }
  });

  test("stops guesses at the current password of a change, which count with those at a login", async () => {
    const { id, email } = await register(shop);
    const change = (currentPassword: string, newPassword: string, clientAddress = "192.0.2.1") =>
      shop.broker.call(
        "user.changePassword",
        { currentPassword, newPassword },
        { meta: { user: { id, roles: ["user"] }, clientAddress } },
      );
    for (let time = 0; time < 2; time++) await change(PASSWORD, PASSWORD);
    for (let time = 0; time < 5; time++) {
      expect(await refusalOf(change("wrong horse", "another horse"))).toMatchObject({ code: 401 });
      expect(await refusalOf(login(shop, email, { password: "wrong horse" }))).toMatchObject({ code: 401 });
    }
    const refusal = await refusalOf(change(PASSWORD, "another horse"));
    expect(refusal).toMatchObject({ code: 429, type: "too_many_requests" });
    expect(refusal.data.retryAfter).toBeGreaterThan(14 * 60);
    expect(await refusalOf(login(shop, email))).toMatchObject({ code: 429 });
    // From elsewhere they go on; the second is the first one repeated, and no wrong guess.
    for (let time = 0; time < 11; time++) await change(PASSWORD, "another horse", "192.0.2.2");
  });

  test("stops an account that does not exist in the same way", async () => {
    const { email } = await register(shop);
    await failTenTimes(email);
    await failTenTimes("no-account@example.com");
    const known = await refusalOf(login(shop, email));
    const unknown = await refusalOf(login(shop, "no-account@example.com"));
    expect(withoutSeconds(unknown)).toEqual(withoutSeconds(known));
  });

  test("forgets failures after a success", async () => {
    const { email } = await register(shop);
    for (let time = 0; time < 9; time++) await refusalOf(login(shop, email, { password: "wrong horse" }));
    await login(shop, email);
    await failTenTimes(email);
  });
});

async function failTenTimes(email: string): Promise<void> {
  for (let time = 0; time < 10; time++)
    expect(await refusalOf(login(shop, email, { password: "wrong horse" }))).toMatchObject({ code: 401 });
}

interface Seen {
  code: number;
  type: string;
  message: string;
  data: { retryAfter?: number };
}

/** What the gateway shows of a failure. */
async function refusalOf(call: Promise<unknown>): Promise<Seen> {
  const err = await call.then(
    () => new Error("it was let through"),
    (reason: Error) => reason,
  );
  const { code, type, message, data } = err as unknown as Seen;
  return { code, type, message, data };
}

const withoutSeconds = ({ code, type, message }: Seen) => ({
  code,
  type,
  message: message.replace(/\d+/, "N"),
});
