/** What the tests of auth do again and again: customers, logins, and a look at the tokens and the database. */
import { createPublicKey, type JsonWebKey } from "node:crypto";
import jwt from "jsonwebtoken";
import pg from "pg";
import type { JwksAnswer, TokenAnswer } from "../../../services/auth/api.ts";
import type { UserView } from "../../../services/user/api.ts";
import type { TestShop } from "../../harness/shop.ts";

export const PASSWORD = "correct horse";
let registered = 0;

export const register = (shop: TestShop): Promise<UserView> =>
  shop.broker.call("user.register", {
    email: `c${++registered}@example.com`,
    password: PASSWORD,
    name: "Ann",
  });

export const login = (
  shop: TestShop,
  email: string,
  { password = PASSWORD, clientAddress = "192.0.2.1" } = {},
): Promise<TokenAnswer> => shop.broker.call("auth.login", { email, password }, { meta: { clientAddress } });

export const refresh = (shop: TestShop, refreshToken: string): Promise<TokenAnswer> =>
  shop.broker.call("auth.refresh", { refreshToken });

export const kidOf = (token: string): string | undefined => jwt.decode(token, { complete: true })?.header.kid;

export const keysOf = async (shop: TestShop): Promise<JwksAnswer["keys"]> =>
  (await shop.broker.call<JwksAnswer>("auth.jwks")).keys;

/** Verifies as an outsider would: by the published keys alone. */
export async function verified(shop: TestShop, token: string): Promise<jwt.JwtPayload> {
  const jwk = (await keysOf(shop)).find((key) => key.kid === kidOf(token));
  if (!jwk) throw new Error(`no key ${kidOf(token)} is published`);
  const key = createPublicKey({ key: jwk as unknown as JsonWebKey, format: "jwk" });
  return jwt.verify(token, key, {
    algorithms: ["ES256"],
    issuer: "concord",
    audience: "concord",
  }) as jwt.JwtPayload;
}

/** Runs one statement in auth's database. */
export async function inAuth<Row>(shop: TestShop, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf("auth") });
  await client.connect();
  try {
    return (await client.query(text, values)).rows as Row[];
  } finally {
    await client.end();
  }
}

/**
 * Starts the calls while a rival holds the rows that `lock` locks, and lets go when all of them wait: every one has
 * then read what it read before any of them wrote.
 */
export async function allWaitingAtOnce<Result>(
  shop: TestShop,
  { lock, values = [] }: { lock: string; values?: unknown[] },
  calls: (() => Promise<Result>)[],
): Promise<PromiseSettledResult<Result>[]> {
  const rival = new pg.Client({ connectionString: shop.databases.urlOf("auth") });
  await rival.connect();
  try {
    await rival.query("begin");
    await rival.query(lock, values);
    const results = Promise.allSettled(calls.map((call) => call()));
    const givesUpAt = performance.now() + 5_000;
    while ((await waitingInAuth(shop)) < calls.length)
      if (performance.now() > givesUpAt)
        throw new Error(`the ${calls.length} calls never waited all at once`);
    await rival.query("commit");
    return await results;
  } finally {
    await rival.end();
  }
}

const waitingInAuth = async (shop: TestShop): Promise<number> =>
  (
    await inAuth(
      shop,
      "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
  ).length;
