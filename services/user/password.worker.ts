/**
 * Runs in a worker thread: bcrypt is tens of milliseconds of pure computing, and eight at once would hold the event
 * loop for more than half a second. bcrypt stops at 72 bytes and at a zero byte, so it is given the base64 of an
 * HMAC-SHA-256 (44 bytes) instead of the password: every byte counts, and a stolen table is worth nothing without
 * the pepper.
 */
import { createHmac } from "node:crypto";
import bcrypt from "bcryptjs";

/** `password` is normalised. */
export interface HashTask {
  password: string;
  pepper: Uint8Array;
  cost: number;
}

export interface CompareTask {
  password: string;
  pepper: Uint8Array;
  hash: string;
}

const preHashed = (pepper: Uint8Array, password: string): string =>
  createHmac("sha256", pepper).update(password, "utf8").digest("base64");

export const hash = (task: HashTask): string =>
  bcrypt.hashSync(preHashed(task.pepper, task.password), task.cost);

export const compare = (task: CompareTask): boolean =>
  bcrypt.compareSync(preHashed(task.pepper, task.password), task.hash);
