/**
 * The plan of a run: who buys what, and what goes wrong. It is drawn from the seed before the run begins (draw.ts) and lists
 * every fault by itself, so that a violating plan can be shrunk by leaving things out. Faults strike at named points of
 * the code (the second decision of the register, the first vote of payment on its way back), because what breaks a
 * protocol lies before, after and in the unknown middle of its durable steps, and not at a time of day.
 */

/**
 * At a statement: `-before`, it never reaches the database; `-after`, it is durable and its answer is not heard;
 * `-late`, the caller is gone or told of a lost connection, and the old backend still carries it out after `ms`.
 * At a message: `lose`, `duplicate` (the second after `ms`), `delay`.
 */
export type StatementAction =
  | `${"crash" | "lost"}-${"before" | "after" | "late"}`
  | "freeze-before"
  | "freeze-after";
export type MessageAction = "lose" | "duplicate" | "delay";
export type PointAction = StatementAction | MessageAction;

/** From the nth passing of a point on, `times` in a row. `ms`: how late, how long frozen, or how long down. */
export interface PointFault {
  point: string;
  nth: number;
  times: number;
  do: PointAction;
  ms: number;
}

export type Fault =
  | PointFault
  /** Something that happens to a node: it is killed, stopped (SIGSTOP), cut off, or its wall clock jumps by `ms`. */
  | { at: number; node: string; do: "crash" | "freeze" | "cut" | "jump"; ms: number };

/** Chances per message. `wrongBudget`: a prepare's budget was reckoned by a clock that is wrong. */
export interface Weather {
  loss: number;
  duplicate: number;
  delay: number;
  wrongBudget: number;
}

/** A message that no manager of ours sends: a commit that nobody voted on, another request under a txId in use. */
export interface Stray {
  at: number;
  participant: (typeof PARTICIPANTS)[number];
  do: "unknown-commit" | "other-request";
}

export interface ClientPlan {
  name: string;
  key: string;
  product: number;
  quantity: number;
  token: string;
  /** When its requests set out; more than one: the same key at once. */
  startsAt: number[];
  /** The last of several requests asks for something else under the same key. */
  lastDiffers: boolean;
}

export interface Plan {
  seed: number;
  managers: number;
  /** Units of each product. */
  stock: number[];
  clients: ClientPlan[];
  /** Price changes: a remembered quote is then stale. */
  prices: { at: number; product: number; price: number }[];
  weather: Weather;
  faults: Fault[];
  strays: Stray[];
  /** From here on nothing goes wrong any more, and everybody must come to an end. */
  calmAt: number;
  /** How long the managers keep decisions. */
  retentionMs: number;
  /** At the end all is pruned, and every message of the protocol that was ever sent is delivered once more. */
  isReplayed: boolean;
}

export const PARTICIPANTS = ["order", "product", "payment"] as const;
export const REPLICAS = 2;

export const nodeNames = (managers: number): string[] => [
  ...Array.from({ length: managers }, (_, i) => `manager-${i + 1}`),
  ...PARTICIPANTS.flatMap((name) => Array.from({ length: REPLICAS }, (_, i) => `${name}-${i + 1}`)),
];
