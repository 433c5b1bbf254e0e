/**
 * The first admin's password, where a start of the embedded shop made it up: kept in DATA_DIR, readable by its owner
 * alone, beside postgres.json, which opens more. Commands of the same person on the same data find it there.
 */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";

export interface AdminCredentials {
  email: string;
  password: string;
}

export const adminFileIn = (dataDir: string): string => path.join(dataDir, "admin.json");

/** Called by whoever asked `user.firstAdminPassword` and got one: it is told once. */
export async function keepAdminPassword(dataDir: string, credentials: AdminCredentials): Promise<void> {
  const draft = `${adminFileIn(dataDir)}.new`;
  await rm(draft, { force: true });
  await writeFile(draft, `${JSON.stringify(credentials)}\n`, { mode: 0o600 });
  await rename(draft, adminFileIn(dataDir));
}

/** Undefined where none was kept. */
export async function keptAdmin(dataDir: string): Promise<AdminCredentials | undefined> {
  try {
    return JSON.parse(await readFile(adminFileIn(dataDir), "utf8")) as AdminCredentials;
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw err;
  }
}

/** Undefined where none was kept for this address. */
export async function findAdminPassword(dataDir: string, email: string): Promise<string | undefined> {
  const kept = await keptAdmin(dataDir);
  return kept?.email === email ? kept.password : undefined;
}
