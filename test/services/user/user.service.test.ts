import { monitorEventLoopDelay } from "node:perf_hooks";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { newId } from "../../../lib/ids.ts";
import type { Identity, UserView } from "../../../services/user/api.ts";
import { ADMIN, startTestShop, type TestShop } from "../../harness/shop.ts";

let shop: TestShop;
beforeAll(async () => {
  shop = await startTestShop({ services: ["user"] });
});
afterAll(() => shop.stop());

let registered = 0;
const customer = () => ({ email: `c${++registered}@example.com`, password: "correct horse", name: "Ann" });
const register = (params: object): Promise<UserView> => shop.broker.call("user.register", params);
const verify = (email: string, password: string): Promise<Identity | null> =>
  shop.broker.call("user.verifyCredentials", { email, password });

describe("register", () => {
  test("answers the account without its password, trimmed", async () => {
    const { email, password } = customer();
    const view = await register({ email: ` ${email.toUpperCase()} `, password, name: " Ann Lee " });
    expect(view).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/),
      email: email.toUpperCase(),
      name: "Ann Lee",
      roles: ["user"],
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
  });

  test("refuses an address that is taken, in any case", async () => {
    const params = customer();
    await register(params);
    for (const email of [params.email, params.email.toUpperCase(), ` ${params.email}`])
      await expect(register({ ...params, email })).rejects.toMatchObject({ code: 409, type: "email_taken" });
  });

  test("lets one of many rivals have the address", async () => {
    const params = customer();
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => register({ ...params })));
    expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
    for (const result of results)
      if (result.status === "rejected") expect(result.reason).toMatchObject({ type: "email_taken" });
  });

  test.each([
    ["a common", "Password1", "password_common"],
    ["a short", "1234567", "password_too_short"],
    ["a long", "🦊".repeat(257), "password_too_long"],
  ])("refuses %s password with a pointer to it", async (_what, password, code) => {
    await expect(register({ ...customer(), password })).rejects.toMatchObject({
      code: 422,
      type: "validation_failed",
      data: { errors: [{ pointer: "/password", code }] },
    });
  });

  test.each([
    ["a password that is shorter as it is typed", { password: "ﬃﬃﬃ" }],
    ["a password that is longer as it is typed", { password: "\u1f82".normalize("NFD").repeat(256) }],
    ["a name of 200 characters beyond the first plane", { name: "🦊".repeat(200) }],
  ])("takes %s", async (_what, fields) => {
    const params = { ...customer(), ...fields };
    const { id } = await register(params);
    expect(await verify(params.email, params.password)).toEqual({ id, roles: ["user"] });
  });

  test.each([
    ["a password that is not text", { password: 12345678 }, "password"],
    ["an address without @", { email: "example.com" }, "email"],
    ["an address with a line break in it", { email: "a@example.com\nBcc: b@example.com" }, "email"],
    ["an address of 255 characters", { email: `a@${"b.".repeat(126)}b` }, "email"],
    ["an empty name", { name: "  " }, "name"],
    ["a name of 201 characters", { name: "🦊".repeat(201) }, "name"],
    ["a name with a zero character", { name: "Ann\0" }, "name"],
    ["a name with half a character", { name: "Ann \ud83e" }, "name"],
    ["a missing name", { name: undefined }, "name"],
  ])("refuses %s", async (_what, fault, field) => {
    await expect(register({ ...customer(), ...fault })).rejects.toMatchObject({
      code: 422,
      data: [{ field }],
    });
  });

  test("refuses members that it does not know, roles above all", async () => {
    const params = { ...customer(), roles: ["admin"] };
    await expect(register(params)).rejects.toMatchObject({ code: 422, data: [{ type: "objectStrict" }] });
  });
});

describe("verifyCredentials", () => {
  test("answers who it is for the right password, the address in any case", async () => {
    const params = customer();
    const { id } = await register(params);
    expect(await verify(params.email.toUpperCase(), params.password)).toEqual({ id, roles: ["user"] });
  });

  test("answers null for a wrong password and for an unknown address", async () => {
    const params = customer();
    await register(params);
    expect(await verify(params.email, "wrong horse")).toBeNull();
    expect(await verify("nobody@example.com", params.password)).toBeNull();
  });

  test("hashes anew at login what was hashed at another cost", async () => {
    const params = customer();
    await register(params);
    const costly = await startTestShop({
      services: ["user"],
      databases: shop.databases,
      env: { BCRYPT_COST: "5" },
    });
    try {
      for (let login = 0; login < 2; login++)
        expect(await costly.broker.call("user.verifyCredentials", withoutName(params))).not.toBeNull();
    } finally {
      await costly.stop();
    }
    expect(await hashOf(params.email)).toMatch(/^\$2b\$05\$/);
  });
});

describe("profile and get", () => {
  test("show the account", async () => {
    const view = await register(customer());
    const meta = { user: { id: view.id, roles: ["user"] } };
    expect(await shop.broker.call("user.profile", {}, { meta })).toEqual(view);
    expect(await shop.broker.call("user.get", { id: view.id })).toEqual(view);
  });

  test("know nobody under an id that does not exist", async () => {
    const meta = { user: { id: newId(), roles: ["user"] } };
    await expect(shop.broker.call("user.profile", {}, { meta })).rejects.toMatchObject({
      type: "unauthorized",
    });
    expect(await shop.broker.call("user.get", { id: newId() })).toBeNull();
  });
});

describe("the start", () => {
  test("makes the configured administrator and hands no password over", async () => {
    expect((await verify(ADMIN.email, ADMIN.password))?.roles).toEqual(["user", "admin"]);
    expect(await shop.broker.call("user.firstAdminPassword")).toBeNull();
  });

  test("hands a made password over once", async () => {
    const other = await startTestShop({ services: ["user"], env: { ADMIN_PASSWORD: "" } });
    try {
      const password = await other.broker.call("user.firstAdminPassword");
      const identity = await other.broker.call("user.verifyCredentials", { email: ADMIN.email, password });
      expect(identity).toMatchObject({ roles: ["user", "admin"] });
      expect(await other.broker.call("user.firstAdminPassword")).toBeNull();
    } finally {
      await other.stop();
    }
  });
});

test("eight registrations at once leave the event loop free", async () => {
  // Cost 12 is about 340 ms a hash: a single one on the event loop holds it for longer than is allowed here, which is
  // several times what a busy machine does to a thread.
  const costly = await startTestShop({ services: ["user"], env: { BCRYPT_COST: "12" } });
  const delay = monitorEventLoopDelay({ resolution: 5 });
  try {
    delay.enable();
    await Promise.all(
      Array.from({ length: 8 }, () => costly.broker.call("user.register", customer(), { timeout: 25_000 })),
    );
    delay.disable();
    expect(delay.max / 1e6).toBeLessThan(300);
    expect(delay.percentile(50) / 1e6).toBeLessThan(50);
  } finally {
    delay.disable();
    await costly.stop();
  }
});

const withoutName = ({ email, password }: { email: string; password: string }) => ({ email, password });

async function hashOf(email: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf("user") });
  await client.connect();
  try {
    const { rows } = await client.query("select password_hash from users where email_key = $1", [email]);
    return rows[0]?.password_hash;
  } finally {
    await client.end();
  }
}
