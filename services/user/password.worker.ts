/**
 * Runs in a worker thread: bcrypt is tens of milliseconds of pure computing, and eight at once would hold the event
 * loop for more than half a second. bcrypt stops at 72 bytes and at a zero byte, so it is given the base64 of an
 * HMAC-SHA-256 (44 bytes) instead of the password: every byte counts, and a stolen table is worth nothing without
 * the pepper.
 */
import { createHmac } from "node:crypto";
import bcrypt from "bcryptjs";

/** When nobody waits for a task any more, by the clock that all threads of a process share; null where it has no end. */
interface Expiring {
  expiresAtMs: number | null;
}

/** `password` is normalised. */
export interface HashTask extends Expiring {
  password: string;
  pepper: Uint8Array;
  cost: number;
}

export interface CompareTask extends Expiring {
  password: string;
  pepper: Uint8Array;
  hash: string;
}

const preHashed = (pepper: Uint8Array, password: string): string =>
  createHmac("sha256", pepper).update(password, "utf8").digest("base64");

/** Answered instead of a result where the task waited for too long: hashing for nobody would make the others late. */
export const EXPIRED = "expired";
type Expired = typeof EXPIRED;

export const sharedClockMs = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

const isExpired = ({ expiresAtMs }: Expiring): boolean =>
  expiresAtMs !== null && sharedClockMs() >= expiresAtMs;

export const hash = (task: HashTask): string | Expired =>
  isExpired(task) ? EXPIRED : bcrypt.hashSync(preHashed(task.pepper, task.password), task.cost);

export const compare = (task: CompareTask): boolean | Expired =>
  isExpired(task) ? EXPIRED : bcrypt.compareSync(preHashed(task.pepper, task.password), task.hash);
