import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { cloneDatabases } from "../../harness/databases.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { allWaitingAtOnce, inAuth, login, refresh, register, verified } from "./client.ts";

let shop: TestShop;
beforeAll(async () => {
  shop = await startTestShop({ services: ["auth", "user"] });
});
afterAll(() => shop.stop());

const refused = { code: 401, type: "unauthorized" };
const logout = (refreshToken: string): Promise<unknown> => shop.broker.call("auth.logout", { refreshToken });
const hashOf = (token: string): Buffer => createHash("sha256").update(token).digest();

async function newLogin() {
  const account = await register(shop);
  return { account, ...(await login(shop, account.email)) };
}

describe("refresh", () => {
  test("answers as login does, with another refresh token", async () => {
    const { account, refreshToken } = await newLogin();
    const answer = await refresh(shop, refreshToken);
    expect(answer).toMatchObject({ tokenType: "Bearer", expiresIn: 900 });
    expect(answer.refreshToken).not.toBe(refreshToken);
    expect(await verified(shop, answer.accessToken)).toMatchObject({ sub: account.id });
    await expect(refresh(shop, answer.refreshToken)).resolves.toHaveProperty("accessToken");
  });

  test("revokes the login where a spent token comes back", async () => {
    const { account, refreshToken } = await newLogin();
    const other = await login(shop, account.email);
    const next = await refresh(shop, refreshToken);
    await expect(refresh(shop, refreshToken)).rejects.toMatchObject(refused);
    await expect(refresh(shop, next.refreshToken)).rejects.toMatchObject(refused);
    // Another login of the same account is another family.
    await expect(refresh(shop, other.refreshToken)).resolves.toHaveProperty("accessToken");
  });

  test("spends a token once among many at the same time, and revokes the login", async () => {
    const { refreshToken } = await newLogin();
    const results = await allWaitingAtOnce(
      shop,
      {
        lock: "select from refresh_tokens where hash = $1 for update",
        values: [hashOf(refreshToken)],
      },
      Array.from({ length: 5 }, () => () => refresh(shop, refreshToken)),
    );
    const won = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    expect(won).toHaveLength(1);
    await expect(refresh(shop, won[0]?.refreshToken as string)).rejects.toMatchObject(refused);
  });

  test("reads the roles anew", async () => {
    const { account, accessToken, refreshToken } = await newLogin();
    await inUser("update users set roles = '{user,admin}' where id = $1", [account.id]);
    expect(await verified(shop, accessToken)).toMatchObject({ roles: ["user"] });
    const { accessToken: newer } = await refresh(shop, refreshToken);
    expect(await verified(shop, newer)).toMatchObject({ roles: ["user", "admin"] });
  });

  test("refuses the token of an account that is gone", async () => {
    const { account, refreshToken } = await newLogin();
    await inUser("delete from users where id = $1", [account.id]);
    await expect(refresh(shop, refreshToken)).rejects.toMatchObject(refused);
  });

  test("refuses an expired token without revoking anything", async () => {
    const { refreshToken } = await newLogin();
    await expire(refreshToken);
    await expect(refresh(shop, refreshToken)).rejects.toMatchObject(refused);
    expect(await familyOf(refreshToken)).toEqual([{ revoked: false }]);
  });

  test("lasts 30 days", async () => {
    const { refreshToken } = await newLogin();
    const rows = await inAuth(
      shop,
      "select expires_at - issued_at = interval '30 days' as fits from refresh_tokens where hash = $1",
      [hashOf(refreshToken)],
    );
    expect(rows).toEqual([{ fits: true }]);
  });

  test("refuses what is no token at all in the same way", async () => {
    await expect(refresh(shop, "made up")).rejects.toMatchObject(refused);
    await expect(refresh(shop, "")).rejects.toMatchObject({ code: 422 });
  });

  test("does not spend the token where user cannot be asked", async () => {
    const databases = await cloneDatabases(["auth", "user"]);
    const whole = await startTestShop({ services: ["auth", "user"], databases });
    const { email } = await register(whole);
    const { refreshToken } = await login(whole, email);
    await whole.stop();

    const alone = await startTestShop({ services: ["auth"], databases });
    await expect(refresh(alone, refreshToken)).rejects.toMatchObject({ type: "unavailable" });
    await alone.stop();

    const again = await startTestShop({ services: ["auth", "user"], databases });
    await expect(refresh(again, refreshToken)).resolves.toHaveProperty("accessToken");
    await again.stop();
    await databases.drop();
  });
});

describe("logout", () => {
  test("revokes the login, also by a token that was spent before", async () => {
    const { refreshToken } = await newLogin();
    const next = await refresh(shop, refreshToken);
    expect(await logout(refreshToken)).toBeUndefined();
    await expect(refresh(shop, next.refreshToken)).rejects.toMatchObject(refused);
  });

  test("may be repeated, and answers an unknown token alike", async () => {
    const { refreshToken } = await newLogin();
    for (let time = 0; time < 2; time++) expect(await logout(refreshToken)).toBeUndefined();
    expect(await logout("made up")).toBeUndefined();
  });
});

describe("the database", () => {
  test("holds no token, only hashes", async () => {
    const { refreshToken } = await newLogin();
    const rows = await inAuth<{ row: string }>(shop, "select t::text as row from refresh_tokens t");
    expect(rows.length).toBeGreaterThan(0);
    for (const { row } of rows) expect(row).not.toContain(refreshToken);
    expect(rows.some(({ row }) => row.includes(hashOf(refreshToken).toString("hex")))).toBe(true);
  });

  test("loses expired tokens and empty families when it is tidied, and nothing else", async () => {
    const old = await newLogin();
    const live = await newLogin();
    await expire(old.refreshToken);
    const before = await familyCount();
    const auth = shop.broker.getLocalService("auth") as unknown as { tidy(): Promise<void> };
    await auth.tidy();
    expect(await familyOf(old.refreshToken)).toEqual([]);
    expect(await familyCount()).toBeLessThan(before);
    await expect(refresh(shop, live.refreshToken)).resolves.toHaveProperty("accessToken");
  });
});

const expire = (token: string): Promise<unknown> =>
  inAuth(shop, "update refresh_tokens set expires_at = now() where hash = $1", [hashOf(token)]);

const familyOf = (token: string): Promise<unknown[]> =>
  inAuth(
    shop,
    `select f.revoked_at is not null as revoked from refresh_families f
     join refresh_tokens t on t.family_id = f.id where t.hash = $1`,
    [hashOf(token)],
  );

const familyCount = async (): Promise<number> =>
  (await inAuth<{ n: number }>(shop, "select count(*)::integer as n from refresh_families"))[0]?.n as number;

async function inUser(text: string, values: unknown[]): Promise<void> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf("user") });
  await client.connect();
  try {
    await client.query(text, values);
  } finally {
    await client.end();
  }
}
