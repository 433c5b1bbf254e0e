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

const fileIn = (dataDir: string): string => path.join(dataDir, "admin.json");

/** Called by whoever asked `user.firstAdminPassword` and got one: it is told once. */
export async function keepAdminPassword(dataDir: string, credentials: AdminCredentials): Promise<void> {
  const draft = `${fileIn(dataDir)}.new`;
  await rm(draft, { force: true });
  await writeFile(draft, `${JSON.stringify(credentials)}\n`, { mode: 0o600 });
  await rename(draft, fileIn(dataDir));
}

/** Undefined where none was kept for this address. */
export async function findAdminPassword(dataDir: string, email: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(fileIn(dataDir), "utf8");
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw err;
  }
  const kept = JSON.parse(text) as AdminCredentials;
  return kept.email === email ? kept.password : undefined;
}
