import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { allWaitingAtOnce, inAuth, keysOf, kidOf, login, register, verified } from "./client.ts";

let shop: TestShop;
let replica: TestShop;
let email: string;
beforeAll(async () => {
  shop = await startTestShop({ services: ["auth", "user"] });
  replica = await startTestShop({ services: ["auth", "user"], databases: shop.databases });
  ({ email } = await register(shop));
});
afterAll(async () => {
  await replica.stop();
  await shop.stop();
});

const rotate = async (): Promise<string> => (await shop.broker.call<{ kid: string }>("auth.rotateKeys")).kid;
const kids = async (): Promise<string[]> => (await keysOf(shop)).map((key) => key.kid);

describe("the signing keys", () => {
  test("are one key that replicas share, whoever starts first", async () => {
    const [one, other] = [await login(shop, email), await login(replica, email)];
    expect(kidOf(one.accessToken)).toBe(kidOf(other.accessToken));
    await expect(verified(replica, one.accessToken)).resolves.toHaveProperty("sub");
  });

  test("are published without anything private", async () => {
    for (const key of await keysOf(shop))
      expect(Object.keys(key).sort()).toEqual(["alg", "crv", "kid", "kty", "use", "x", "y"]);
  });

  test("rotate while both verify, and every replica signs with the new one at once", async () => {
    const before = await login(shop, email);
    await login(replica, email);
    const kid = await rotate();
    expect(kid).not.toBe(kidOf(before.accessToken));
    for (const each of [shop, replica]) {
      const { accessToken } = await login(each, email);
      expect(kidOf(accessToken)).toBe(kid);
      await expect(verified(each, accessToken)).resolves.toHaveProperty("sub");
      await expect(verified(each, before.accessToken)).resolves.toHaveProperty("sub");
    }
  });

  test("tell verifiers of a rotation", async () => {
    const heard: unknown[] = [];
    const off = await listen("auth.keysRotated", (payload) => heard.push(payload));
    const kid = await rotate();
    await off();
    expect(heard).toEqual([{ kid }]);
  });

  test("leave nothing private of a retired key", async () => {
    const retired = (await kids())[0];
    await rotate();
    const rows = await inAuth(shop, "select private_jwk from signing_keys where kid = $1", [retired]);
    expect(rows).toEqual([{ private_jwk: null }]);
  });

  test("verify until the last token has expired, and are withdrawn then", async () => {
    const [retired] = await kids();
    const kid = await rotate();
    await retire(retired as string, "15 minutes");
    expect(await kids()).toContain(retired);
    await retire(retired as string, "16 minutes 1 second");
    expect(await kids()).not.toContain(retired);

    const auth = shop.broker.getLocalService("auth") as unknown as { tidy(): Promise<void> };
    await auth.tidy();
    expect(await inAuth(shop, "select kid from signing_keys where kid = $1", [retired])).toEqual([]);
    expect(await kids()).toContain(kid);
  });

  test("stay one that signs when several rotate at the same time", async () => {
    const results = await allWaitingAtOnce(
      shop,
      { lock: "select from signing_keys where retired_at is null for update" },
      [rotate, rotate, rotate],
    );
    const made = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    expect(made).toHaveLength(3);
    const signing = await inAuth<{ kid: string }>(
      shop,
      "select kid from signing_keys where retired_at is null",
    );
    expect(signing).toHaveLength(1);
    expect(made).toContain(signing[0]?.kid);
    expect(await kids()).toEqual(expect.arrayContaining(made));
  });
});

const retire = (kid: string, ago: string): Promise<unknown> =>
  inAuth(shop, "update signing_keys set retired_at = now() - $2::interval where kid = $1", [kid, ago]);

/** Hears an event of this shop as a service would; answers how to stop hearing it. */
async function listen(event: string, handler: (payload: unknown) => void): Promise<() => Promise<void>> {
  const service = shop.broker.createService({
    name: "listener",
    events: { [event]: (ctx: { params: unknown }) => handler(ctx.params) },
  });
  await shop.broker.waitForServices("listener");
  return () => shop.broker.destroyService(service);
}
