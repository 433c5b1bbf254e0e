/**
 * The first administrator, made at start where the shop has none. Safe when several replicas start together: the
 * unique address lets one of them win, and only the winner's password is handed over.
 */
import { newId } from "../../lib/ids.ts";
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Hasher } from "./password.hasher.ts";
import { makePassword, passwordFault } from "./password.ts";
import { adminExists, findUserByEmail, insertUser } from "./user.repository.ts";

interface Wanted {
  email: string;
  /** From the configuration; undefined where none is set. */
  password: string | undefined;
  /** Whether a password may be made up: true where somebody is there to read it once. */
  mayMake: boolean;
}

interface Outcome {
  /** The password that was made up, to be shown once. */
  madePassword?: string;
  /** Why there is no administrator now, and what to do. */
  problem?: string;
}

export async function ensureFirstAdmin(db: Queryable, hasher: Hasher, wanted: Wanted): Promise<Outcome> {
  if (await adminExists(db)) return {};
  if (wanted.password === undefined && !wanted.mayMake)
    return { problem: "there is no administrator: set ADMIN_EMAIL and ADMIN_PASSWORD and start user again" };

  const password = wanted.password ?? makePassword();
  const fault = passwordFault(password);
  if (fault) throw new Error(`ADMIN_PASSWORD cannot be used: ${fault.message}`);

  const created = await insertUser(db, {
    id: newId(),
    email: wanted.email,
    name: "Administrator",
    passwordHash: await hasher.hash(password),
    roles: ["user", "admin"],
  });
  if (created) return wanted.password === undefined ? { madePassword: password } : {};

  // Whoever registered this address chose its password, so the account is never promoted.
  const holder = await findUserByEmail(db, wanted.email);
  return holder?.roles.includes("admin")
    ? {}
    : { problem: `${wanted.email} belongs to a customer: set ADMIN_EMAIL to another address` };
}
