import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { ensureFirstAdmin } from "../../../services/user/first-admin.ts";
import { type Hasher, openHasher } from "../../../services/user/password.hasher.ts";
import { findUserByEmail, insertUser } from "../../../services/user/user.repository.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";

const email = "Admin@example.com";
let databases: TestDatabases;
let db: Database;
let hasher: Hasher;

beforeEach(async () => {
  databases = await cloneDatabases(["user"]);
  db = openDatabase(databases.urlOf("user"), 4);
  hasher = openHasher({ pepper: randomBytes(32), cost: 4 });
});
afterEach(async () => {
  await hasher.close();
  await db.close();
  await databases.drop();
});

const passwordIs = async (password: string): Promise<boolean> =>
  hasher.matches(password, (await findUserByEmail(db, email))?.passwordHash);

describe("the first administrator", () => {
  test("gets the configured password, which is not handed over", async () => {
    expect(await ensureFirstAdmin(db, hasher, { email, password: "correct horse", mayMake: true })).toEqual(
      {},
    );
    expect((await findUserByEmail(db, email))?.roles).toEqual(["user", "admin"]);
    expect(await passwordIs("correct horse")).toBe(true);
  });

  test("gets a made password, which is handed over", async () => {
    const { madePassword } = await ensureFirstAdmin(db, hasher, {
      email,
      password: undefined,
      mayMake: true,
    });
    expect(await passwordIs(madePassword as string)).toBe(true);
  });

  test("is made once, however many replicas start together, and only the winner has its password", async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 4 }, () =>
        ensureFirstAdmin(db, hasher, { email, password: undefined, mayMake: true }),
      ),
    );
    const made = outcomes.flatMap((outcome) => outcome.madePassword ?? []);
    expect(made).toHaveLength(1);
    expect(await passwordIs(made[0] as string)).toBe(true);
    expect(outcomes.flatMap((outcome) => outcome.problem ?? [])).toEqual([]);
  });

  test("stays as it is at the next start", async () => {
    await ensureFirstAdmin(db, hasher, { email, password: "correct horse", mayMake: false });
    await ensureFirstAdmin(db, hasher, {
      email: "other@example.com",
      password: "another horse",
      mayMake: false,
    });
    expect(await findUserByEmail(db, "other@example.com")).toBeUndefined();
    expect(await passwordIs("correct horse")).toBe(true);
  });

  test("is missed aloud where no password may be made", async () => {
    const { problem } = await ensureFirstAdmin(db, hasher, { email, password: undefined, mayMake: false });
    expect(problem).toContain("ADMIN_PASSWORD");
    expect(await findUserByEmail(db, email)).toBeUndefined();
  });

  test("is never a customer who registered the address before", async () => {
    const passwordHash = await hasher.hash("of the customer");
    await insertUser(db, {
      id: newId(),
      email: email.toLowerCase(),
      name: "C",
      passwordHash,
      roles: ["user"],
    });
    const { problem } = await ensureFirstAdmin(db, hasher, {
      email,
      password: "correct horse",
      mayMake: true,
    });
    expect(problem).toContain(email);
    expect((await findUserByEmail(db, email))?.roles).toEqual(["user"]);
    expect(await passwordIs("of the customer")).toBe(true);
  });

  test("is refused a password that nobody could register with", async () => {
    await expect(
      ensureFirstAdmin(db, hasher, { email, password: "password1", mayMake: true }),
    ).rejects.toThrow("ADMIN_PASSWORD");
  });
});
