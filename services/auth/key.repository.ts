/** SQL of the signing keys. */
import type { JsonWebKey } from "node:crypto";
import type { Database, Queryable } from "../../mixins/database.mixin.ts";
import { ACCESS_TOKEN_SECONDS } from "./access-token.ts";
import type { PublicJwk } from "./api.ts";
import type { SigningKey } from "./signing-key.ts";

/**
 * A retired key verifies until its last token has expired. The minute on top is for a replica that took the key just
 * before the rotation and signs just after it.
 */
const VERIFIES_SECONDS = ACCESS_TOKEN_SECONDS + 60;

/** Stores the first key. Does nothing where one signs already, or a rival stores one at this moment. */
export async function insertFirstKey(db: Queryable, key: SigningKey): Promise<void> {
  await db.query({
    name: "auth_key_insert",
    text: `insert into signing_keys (kid, public_jwk, private_jwk) values ($1, $2, $3)
           on conflict ((true)) where retired_at is null do nothing`,
    values: [key.kid, JSON.stringify(key.publicJwk), JSON.stringify(key.privateJwk)],
  });
}

/** Retires the key that signs and lets this one sign. Rivals queue at the table lock. */
export async function replaceSigner(db: Database, key: SigningKey): Promise<void> {
  await db.transaction(async (tx) => {
    await tx.query({
      name: "auth_key_lock",
      text: "lock table signing_keys in share row exclusive mode",
    });
    await tx.query({
      name: "auth_key_retire",
      text: "update signing_keys set retired_at = now(), private_jwk = null where retired_at is null",
    });
    await insertFirstKey(tx, key);
  });
}

/** The kid of the key that signs now: what a replica compares its own copy to. */
export async function signerKid(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ kid: string }>({
    name: "auth_key_signer_kid",
    text: "select kid from signing_keys where retired_at is null",
  });
  return only(rows).kid;
}

export async function signerKey(db: Queryable): Promise<{ kid: string; privateJwk: JsonWebKey }> {
  const { rows } = await db.query<{ kid: string; privateJwk: JsonWebKey }>({
    name: "auth_key_signer",
    text: `select kid, private_jwk as "privateJwk" from signing_keys where retired_at is null`,
  });
  return only(rows);
}

/** The key that signs first, then the retired ones by which a token may still be verified. */
export async function verifyingKeys(db: Queryable): Promise<PublicJwk[]> {
  const { rows } = await db.query<{ publicJwk: PublicJwk }>({
    name: "auth_key_verifying",
    text: `select public_jwk as "publicJwk" from signing_keys
           where retired_at is null or retired_at > now() - make_interval(secs => $1)
           order by retired_at desc nulls first`,
    values: [VERIFIES_SECONDS],
  });
  return rows.map((row) => row.publicJwk);
}

export async function deleteDeadKeys(db: Queryable): Promise<void> {
  await db.query({
    name: "auth_key_delete_dead",
    text: "delete from signing_keys where retired_at <= now() - make_interval(secs => $1)",
    values: [VERIFIES_SECONDS],
  });
}

function only<Row>(rows: Row[]): Row {
  const [row] = rows;
  if (!row) throw new Error("no signing key is in force: start auth again to make one");
  return row;
}
