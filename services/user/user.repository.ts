/** All SQL of user. */
import type { Queryable } from "../../mixins/database.mixin.ts";
import type { Contact } from "./api.ts";
import type { User } from "./user.ts";
import { emailKeyOf } from "./user.ts";

const COLUMNS = `id, email, name, password_hash as "passwordHash", roles, created_at as "createdAt"`;

/** Undefined where the address is taken, also when a rival takes it at this moment. */
export async function insertUser(db: Queryable, user: Omit<User, "createdAt">): Promise<User | undefined> {
  const { rows } = await db.query<User>({
    name: "user_insert",
    text: `insert into users (id, email, email_key, name, password_hash, roles) values ($1, $2, $3, $4, $5, $6)
           on conflict (email_key) do nothing returning ${COLUMNS}`,
    values: [user.id, user.email, emailKeyOf(user.email), user.name, user.passwordHash, user.roles],
  });
  return rows[0];
}

/** The same for somebody who registers: the event is a row of the same transaction. */
export async function registerUser(
  db: Queryable,
  user: Omit<User, "createdAt">,
  traceparent: string | null,
): Promise<User | undefined> {
  const { rows } = await db.query<User>({
    name: "user_register",
    text: `with made as (
             insert into users (id, email, email_key, name, password_hash, roles) values ($1, $2, $3, $4, $5, $6)
             on conflict (email_key) do nothing returning *
           ),
           told as (
             insert into outbox (type, version, key, payload, trace)
             select 'user.registered', 1, id, jsonb_build_object('userId', id, 'email', email, 'name', name), $7
             from made
           )
           select ${COLUMNS} from made`,
    values: [
      user.id,
      user.email,
      emailKeyOf(user.email),
      user.name,
      user.passwordHash,
      user.roles,
      traceparent,
    ],
  });
  return rows[0];
}

export async function findUserById(db: Queryable, id: string): Promise<User | undefined> {
  const { rows } = await db.query<User>({
    name: "user_by_id",
    text: `select ${COLUMNS} from users where id = $1`,
    values: [id],
  });
  return rows[0];
}

/** Of those that exist. */
export async function findContacts(db: Queryable, ids: readonly string[]): Promise<Contact[]> {
  const { rows } = await db.query<Contact>({
    name: "user_contacts",
    text: "select id, email, name from users where id = any($1::uuid[])",
    values: [ids],
  });
  return rows;
}

export async function findUserByEmail(db: Queryable, email: string): Promise<User | undefined> {
  const { rows } = await db.query<User>({
    name: "user_by_email",
    text: `select ${COLUMNS} from users where email_key = $1`,
    values: [emailKeyOf(email)],
  });
  return rows[0];
}

/** Does nothing, and answers false, where `was` has been replaced meanwhile. */
export async function replacePasswordHash(
  db: Queryable,
  change: { id: string; was: string; becomes: string },
): Promise<boolean> {
  const { rowCount } = await db.query({
    name: "user_replace_password_hash",
    text: "update users set password_hash = $3 where id = $1 and password_hash = $2",
    values: [change.id, change.was, change.becomes],
  });
  return rowCount === 1;
}

export async function adminExists(db: Queryable): Promise<boolean> {
  const { rows } = await db.query<{ found: boolean }>({
    name: "user_admin_exists",
    text: "select exists (select from users where 'admin' = any(roles)) as found",
  });
  return rows[0]?.found === true;
}

/** The secret of this name. `candidate` becomes it where there is none yet; whoever is first wins for everybody. */
export async function secretOf(db: Queryable, secret: { name: string; candidate: Buffer }): Promise<Buffer> {
  await db.query({
    name: "user_secret_insert",
    text: "insert into secrets (name, value) values ($1, $2) on conflict (name) do nothing",
    values: [secret.name, secret.candidate],
  });
  const { rows } = await db.query<{ value: Buffer }>({
    name: "user_secret_select",
    text: "select value from secrets where name = $1",
    values: [secret.name],
  });
  const [row] = rows;
  if (!row) throw new Error(`the secret ${secret.name} vanished between two statements`);
  return row.value;
}
