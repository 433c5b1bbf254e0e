/** SQL of the refresh tokens. */
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import { REFRESH_TOKEN_DAYS } from "./refresh-token.ts";

/** Starts a family, at login. */
export async function insertFamily(
  db: Queryable,
  family: { id: string; userId: string; hash: Buffer },
): Promise<void> {
  await db.query({
    name: "auth_family_insert",
    text: `with family as (insert into refresh_families (id, user_id) values ($1, $2) returning id)
           insert into refresh_tokens (hash, family_id, expires_at)
           select $3, id, now() + make_interval(days => $4) from family`,
    values: [family.id, family.userId, family.hash, REFRESH_TOKEN_DAYS],
  });
}

/** Whose token it is, whatever its state; undefined where it is unknown. */
export async function holderOf(db: Queryable, hash: Buffer): Promise<string | undefined> {
  const { rows } = await db.query<{ userId: string }>({
    name: "auth_token_holder",
    text: `select f.user_id as "userId" from refresh_tokens t join refresh_families f on f.id = t.family_id
           where t.hash = $1`,
    values: [hash],
  });
  return rows[0]?.userId;
}

/**
 * What came of a rotation. `reused`: it had been rotated before, so two parties hold the family, one of them a thief,
 * and the family is revoked now. `void`: unknown, expired, or its family revoked earlier.
 */
export type Rotation = "rotated" | "reused" | "void";

/** Puts `next` in the place of the token `hash`, once. */
export async function rotateToken(
  db: Database,
  { hash, next }: { hash: Buffer; next: Buffer },
): Promise<Rotation> {
  return db.transaction(async (tx) => {
    const familyId = await lockFamily(tx, hash);
    if (familyId === undefined) return "void";
    const { rows } = await tx.query<{ rotated: boolean; expired: boolean }>({
      name: "auth_token_state",
      text: `select rotated_at is not null as rotated, expires_at <= now() as expired
             from refresh_tokens where hash = $1`,
      values: [hash],
    });
    const [token] = rows;
    if (!token || token.expired) return "void";
    if (token.rotated) {
      await revokeFamily(tx, familyId);
      return "reused";
    }
    await tx.query({
      name: "auth_token_rotate",
      text: `with rotated as (update refresh_tokens set rotated_at = now() where hash = $1 returning family_id)
             insert into refresh_tokens (hash, family_id, expires_at)
             select $2, family_id, now() + make_interval(days => $3) from rotated`,
      values: [hash, next, REFRESH_TOKEN_DAYS],
    });
    return "rotated";
  });
}

/** Ends the login that this token belongs to. Does nothing where the token is unknown. */
export async function revokeByToken(db: Database, hash: Buffer): Promise<void> {
  await db.transaction(async (tx) => {
    const familyId = await lockFamily(tx, hash);
    if (familyId !== undefined) await revokeFamily(tx, familyId);
  });
}

/** Ends every login of this user. Answers how many there were. */
export async function revokeByUser(db: Queryable, userId: string): Promise<number> {
  const { rowCount } = await db.query({
    name: "auth_families_revoke",
    text: "update refresh_families set revoked_at = now() where user_id = $1 and revoked_at is null",
    values: [userId],
  });
  return rowCount ?? 0;
}

/** Deletes what has expired: tokens, then families that no token is left of. */
export async function deleteExpired(db: Queryable): Promise<void> {
  await db.query({
    name: "auth_token_delete_expired",
    text: "delete from refresh_tokens where expires_at <= now()",
  });
  await db.query({
    name: "auth_family_delete_empty",
    text: `delete from refresh_families f
           where not exists (select from refresh_tokens t where t.family_id = f.id)`,
  });
}

/** Locks the family of this token until the transaction ends; undefined where it is unknown or revoked. */
async function lockFamily(tx: Queryable, hash: Buffer): Promise<string | undefined> {
  const { rows } = await tx.query<{ id: string }>({
    name: "auth_family_lock",
    text: `select id from refresh_families
           where id = (select family_id from refresh_tokens where hash = $1) and revoked_at is null
           for update`,
    values: [hash],
  });
  return rows[0]?.id;
}

async function revokeFamily(tx: Queryable, familyId: string): Promise<void> {
  await tx.query({
    name: "auth_family_revoke",
    text: "update refresh_families set revoked_at = now() where id = $1",
    values: [familyId],
  });
}
