/**
 * Turns a trace of the code (JSON lines, one step each) into the sizes and arrays that docs/model/replay.pml replays.
 * It translates names into numbers and judges nothing: what is not a step of the protocol is an error here, and what is
 * not allowed is refused there.
 */

/** One step of a trace. `at` and `node` are for the reader; only the node of `run` and `crash` matters. */
export type TraceStep = { at: number; node: string } & (
  | { step: "run"; txId: string; enlisted: string[]; key?: string; replaces?: string }
  | { step: "vote"; txId: string; participant: string; vote: "yes" | "no" | "tombstone" }
  | { step: "decide"; txId: string; proposed: Outcome; outcome?: Outcome; stored: boolean }
  | { step: "settle"; txId: string; participant: string; outcome: Outcome }
  | { step: "acknowledge"; txId: string; participants: string[] }
  | { step: "seal"; txId: string; participant: string }
  | { step: "watermark"; txId: string }
  | { step: "prune"; txId: string; participant?: string }
  | { step: "crash" | "restart" }
  | { step: "answer"; txId?: string; key: string; status: number; code?: string }
);
type Outcome = "commit" | "abort";

/** In the order of their numbers in the model: order first. */
const PARTICIPANTS = ["order", "product", "payment"];
const OUTCOMES = { commit: 1, abort: 2 } as const;
/** The operations of replay.pml. */
const OP = {
  run: 0,
  yes: 1,
  no: 2,
  tombstone: 3,
  decide: 4,
  store: 5,
  settle: 6,
  acknowledge: 7,
  seal: 8,
  watermark: 9,
  pruneVote: 10,
  pruneDecision: 11,
  crash: 12,
  confirmed: 13,
  pending: 14,
} as const;

export interface Promela {
  text: string;
  /** For each operation of the replay the line of the trace, from 1, that it comes from. */
  lines: number[];
}

type Operation = [op: number, tx: number, a: number, b: number];

export function parseTrace(text: string): TraceStep[] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line, i) => {
      try {
        return JSON.parse(line) as TraceStep;
      } catch {
        throw new Error(`line ${i + 1} of the trace is no JSON: ${line.slice(0, 80)}`);
      }
    });
}

export function toPromela(trace: readonly TraceStep[]): Promela {
  const run = trace.filter((step) => step.step === "run");
  const txIds = [...new Set(run.map(({ txId }) => txId))].sort();
  if (txIds.length === 0) throw new Error("the trace runs no transaction, so there is nothing to replay");
  const numbers = new Map(txIds.map((txId, i) => [txId, i]));
  // Attempts without a key share theirs with nobody.
  const keys = [...new Set(run.map(({ key, txId }) => key ?? txId))];
  const keyOf = new Map(run.map(({ txId, key }) => [txId, keys.indexOf(key ?? txId)]));
  /** The transactions that each node drives. */
  const driven = new Map<string, number[]>();

  const number = (txId: string): number => {
    const found = numbers.get(txId);
    if (found === undefined) throw new Error(`${txId} stands in the trace, but nobody ran it`);
    return found;
  };
  const operations = (step: TraceStep): Operation[] => {
    switch (step.step) {
      case "run": {
        const tx = number(step.txId);
        driven.set(step.node, [...(driven.get(step.node) ?? []), tx]);
        const enlisted = step.enlisted.reduce((mask, name) => mask | (1 << participant(name)), 0);
        return [[OP.run, tx, enlisted, step.replaces === undefined ? 0 : number(step.replaces) + 1]];
      }
      case "vote":
        return [[OP[step.vote], number(step.txId), participant(step.participant), 0]];
      case "decide": {
        const outcome = step.outcome ? OUTCOMES[step.outcome] : 0;
        return [[step.stored ? OP.store : OP.decide, number(step.txId), OUTCOMES[step.proposed], outcome]];
      }
      case "settle":
        return [[OP.settle, number(step.txId), participant(step.participant), OUTCOMES[step.outcome]]];
      case "acknowledge":
        return step.participants.map((name) => [OP.acknowledge, number(step.txId), participant(name), 0]);
      case "seal":
        return [[OP.seal, countUpTo(txIds, step.txId), participant(step.participant), 0]];
      case "watermark":
        return [[OP.watermark, countUpTo(txIds, step.txId), 0, 0]];
      case "prune":
        return step.participant === undefined
          ? [[OP.pruneDecision, number(step.txId), 0, 0]]
          : [[OP.pruneVote, number(step.txId), participant(step.participant), 0]];
      case "crash": {
        const lost = driven.get(step.node) ?? [];
        driven.delete(step.node);
        return lost.map((tx) => [OP.crash, tx, 0, 0]);
      }
      case "restart":
        return [];
      case "answer":
        if (step.txId === undefined || (step.status !== 201 && step.status !== 202)) return [];
        return [[step.status === 201 ? OP.confirmed : OP.pending, number(step.txId), 0, 0]];
      default:
        throw new Error(`a trace has no step ${JSON.stringify(step satisfies never)}`);
    }
  };

  const steps = trace.flatMap((step, i) => operations(step).map((operation) => ({ operation, line: i + 1 })));
  const column = (i: number) => steps.map(({ operation }) => operation[i]).join(", ");
  return {
    lines: steps.map(({ line }) => line),
    text: [
      `#define N ${txIds.length}`,
      `#define P ${PARTICIPANTS.length}`,
      "#define ID short",
      `#define KEYS ${keys.length}`,
      "#define KEY(t) keyOf[t]",
      `#define LENGTH ${steps.length}`,
      `short keyOf[N] = { ${txIds.map((txId) => keyOf.get(txId)).join(", ")} };`,
      `byte op[LENGTH] = { ${column(0)} };`,
      `short tx[LENGTH] = { ${column(1)} };`,
      `byte a[LENGTH] = { ${column(2)} };`,
      `short b[LENGTH] = { ${column(3)} };`,
      "",
    ].join("\n"),
  };
}

function participant(name: string): number {
  const found = PARTICIPANTS.indexOf(name);
  if (found < 0) throw new Error(`the model knows ${PARTICIPANTS.join(", ")}, and no participant ${name}`);
  return found;
}

/** How many of the sorted txIds lie at or below this one, which need not be one of them. */
const countUpTo = (txIds: readonly string[], txId: string): number =>
  txIds.filter((each) => each <= txId).length;
