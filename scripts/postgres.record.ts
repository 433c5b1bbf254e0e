/**
 * What DATA_DIR/postgres.json and the server's own postmaster.pid say about the embedded server: its address, and who
 * uses it. Both may be out of date after a kill, so a pid counts only together with what the system says about it.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { chown, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { embeddedAddressFile } from "../config/database.ts";
import { birthOf, commandOf } from "./processes.ts";

/** A process that uses the server. The last one to leave stops it. */
export interface User {
  pid: number;
  /** Told apart from a later process with the same pid by when it began. */
  birth: string;
  /** One process may hold several. */
  handle: string;
}

export interface PostgresRecord {
  /** With the password; config/database.ts reads it. */
  url: string;
  version: string;
  /** Of the postmaster, while it is running. */
  pid?: number;
  users: User[];
}

export async function readRecord(dataDir: string): Promise<PostgresRecord | undefined> {
  const file = embeddedAddressFile(dataDir);
  if (!existsSync(file)) return undefined;
  const text = readFileSync(file, "utf8");
  try {
    const record = JSON.parse(text) as PostgresRecord;
    const { password, port } = new URL(record.url);
    return password && port ? { ...record, users: record.users ?? [] } : undefined;
  } catch {
    // Somebody edited it. Its only secret, the password, can be set anew, so this is not worth a refusal.
    return undefined;
  }
}

/** Replaces the file in one step: a reader sees the old record or the new one. */
export async function writeRecord(dataDir: string, record: PostgresRecord): Promise<void> {
  const file = embeddedAddressFile(dataDir);
  const draft = `${file}.new`;
  await rm(draft, { force: true });
  await writeFile(draft, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  await rename(draft, file);
}

export const isAlive = (user: User): boolean => birthOf(user.pid) === user.birth;

export function thisProcess(handle: string): User {
  const birth = birthOf(process.pid);
  if (birth === undefined) throw new Error(`process ${process.pid} cannot find itself; is /proc mounted?`);
  return { pid: process.pid, birth, handle };
}

export interface Postmaster {
  pid: number;
  birth: string;
  port: number;
  /** `starting`, `ready`, `stopping`, ... */
  status: string;
}

/** The running postmaster of the cluster in `data`, or undefined: then nothing that postmaster.pid names is ours. */
export function findPostmaster(data: string): Postmaster | undefined {
  const lines = postmasterPidLines(data);
  const pid = Number(lines?.[0]);
  if (!lines || !Number.isInteger(pid) || pid <= 0) return undefined;
  const birth = birthOf(pid);
  // The pid may be anybody's by now. A postmaster of ours was started with exactly this directory.
  const command = ` ${commandOf(pid) ?? ""} `;
  if (birth === undefined || !/postgres/.test(command) || !command.includes(` -D ${data} `)) return undefined;
  return { pid, birth, port: Number(lines[3]), status: lines[7]?.trim() ?? "" };
}

/**
 * Makes a postmaster.pid that nobody alive wrote harmless. PostgreSQL would refuse to start where its pid now belongs
 * to another process. The file is not removed, because its other lines let PostgreSQL notice backends that outlive
 * their postmaster; naming this process instead works, because PostgreSQL knows that its parent is no postmaster.
 */
export async function disarmStalePid(data: string): Promise<void> {
  const lines = postmasterPidLines(data);
  if (!lines || lines[0] === String(process.pid)) return;
  // In one step, or a full disk would leave it empty; and as its owner's, who must be able to read it.
  const file = path.join(data, "postmaster.pid");
  const { uid, gid, mode } = statSync(file);
  await writeFile(`${file}.new`, [process.pid, ...lines.slice(1)].join("\n"), { mode });
  await chown(`${file}.new`, uid, gid);
  await rename(`${file}.new`, file);
}

function postmasterPidLines(data: string): string[] | undefined {
  const file = path.join(data, "postmaster.pid");
  return existsSync(file) ? readFileSync(file, "utf8").split("\n") : undefined;
}
