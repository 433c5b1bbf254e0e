/**
 * The trace of a run: what became durable, in the order in which it did, and what was run, answered, killed and
 * started. It is the format for replaying a run of the real code against a model of the protocol: JSON lines, one step
 * each. A step stands here only if it changed something durable, or is one of `run`, `answer`, `crash`, `restart`.
 */
import type { Outcome, TxId } from "../actors/protocol/messages.ts";

export type Step =
  /** A manager mints txId and begins. */
  | { step: "run"; txId: TxId; enlisted: string[]; key: string | undefined; replaces: TxId | undefined }
  /** A participant's vote is durable. A tombstone is a no that an abort left before any prepare came. */
  | { step: "vote"; txId: TxId; participant: string; vote: "yes" | "no" | "tombstone" }
  /** The register has been asked to decide. `proposed` is what was asked, `outcome` what is stored, `stored` whether
   *  this step stored it. `outcome` is undefined at or below the watermark. */
  | { step: "decide"; txId: TxId; proposed: Outcome; outcome: Outcome | undefined; stored: boolean }
  /** A prepared vote has become final. */
  | { step: "settle"; txId: TxId; participant: string; outcome: Outcome }
  /** The register has noted that these have committed durably. */
  | { step: "acknowledge"; txId: TxId; participants: string[] }
  /** Nothing may be recorded at or below txId any more: at one participant, then in the register. */
  | { step: "seal"; txId: TxId; participant: string }
  | { step: "watermark"; txId: TxId }
  /** A final vote, or (without participant) a decision, is deleted. */
  | { step: "prune"; txId: TxId; participant: string | undefined }
  | { step: "crash" | "restart" }
  /** What a client heard: an HTTP status and, where there is one, the order. */
  | { step: "answer"; txId: TxId | undefined; key: string; status: number; code: string | undefined };

/** `at` is virtual time in milliseconds. `node` is who did it, or for what is stored in it: "manager-1", "order-2",
 *  "register", "client-1". Steps on databases bear the database: "register", "order", "product", "payment". */
export type TraceLine = { at: number; node: string } & Step;

export const toJsonLine = (line: TraceLine): string => JSON.stringify(line);
