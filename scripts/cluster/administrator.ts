/**
 * The first administrator of a cluster. No worker may make a password up, because nobody would read it there; the
 * supervisor makes one before the user service starts, and finds out by logging in whether it became the administrator's.
 */
import type { Config } from "../../config/index.ts";
import { makePassword } from "../../services/user/password.ts";
import { findAdminPassword, keepAdminPassword } from "../admin-password.ts";

export interface Administrator {
  readonly email: string;
  /** What the workers are told. */
  readonly password: string;
  /** True where it was made now and nobody knows yet whether it counts. */
  isNew: boolean;
}

export async function administratorOf(config: Config, isEmbedded: boolean): Promise<Administrator> {
  const { adminEmail: email, adminPassword, dataDir } = config;
  const known = adminPassword ?? (isEmbedded ? await findAdminPassword(dataDir, email) : undefined);
  return { email, password: known ?? makePassword(), isNew: known === undefined };
}

/** Keeps a new password beside the data where it counts; forgets it where there was an administrator before. */
export async function confirmAdministrator(
  administrator: Administrator,
  url: string,
  dataDir: string | undefined,
): Promise<void> {
  if (!administrator.isNew) return;
  const { email, password } = administrator;
  const answer = await fetch(`${url}/login`, {
    method: "POST",
    headers: { "content-type": "application/json", connection: "close" },
    body: JSON.stringify({ email, password }),
  });
  await answer.arrayBuffer();
  administrator.isNew = answer.status === 200;
  if (administrator.isNew && dataDir !== undefined) await keepAdminPassword(dataDir, { email, password });
}
