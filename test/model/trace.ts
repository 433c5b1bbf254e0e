/** Traces for the replay, told in a line per step: `run a`, `vote a order yes`, `decide a commit`, ... */
import type { TraceStep } from "../../scripts/model/promela.ts";

type Outcome = "commit" | "abort";
const EVERYBODY = ["order", "product", "payment"];

/**
 * `run TX [KEY] [replacing TX]`, `vote TX PARTICIPANT yes|no|tombstone`, `decide TX commit|abort` (stored by this step),
 * `read TX PROPOSED STORED|nothing`, `settle TX PARTICIPANT OUTCOME`, `acknowledge TX PARTICIPANT`, `seal PARTICIPANT
 * TX`, `watermark TX`, `prune TX [PARTICIPANT]`, `crash NODE`, `restart NODE`, `answer TX STATUS`. A manager of the same
 * name as the transaction drives it.
 */
export function traceOf(lines: string): TraceStep[] {
  return lines
    .trim()
    .split("\n")
    .map((line, at) => ({ at, ...stepOf(line.trim().split(/ +/)) }));
}

type WithoutTime<Step> = Step extends unknown ? Omit<Step, "at"> : never;

function stepOf([verb, x = "", y = "", z = ""]: string[]): WithoutTime<TraceStep> {
  const register = { node: "register" };
  switch (verb) {
    case "run":
      return {
        node: `manager-${x}`,
        step: "run",
        txId: x,
        enlisted: EVERYBODY,
        ...(y && { key: y }),
        ...(z && { replaces: z }),
      };
    case "vote":
      return { node: y, step: "vote", txId: x, participant: y, vote: z as "yes" | "no" | "tombstone" };
    case "decide":
      return {
        ...register,
        step: "decide",
        txId: x,
        proposed: y as Outcome,
        outcome: y as Outcome,
        stored: true,
      };
    case "read": {
      const outcome = z === "nothing" ? {} : { outcome: z as Outcome };
      return { ...register, step: "decide", txId: x, proposed: y as Outcome, ...outcome, stored: false };
    }
    case "settle":
      return { node: y, step: "settle", txId: x, participant: y, outcome: z as Outcome };
    case "acknowledge":
      return { ...register, step: "acknowledge", txId: x, participants: [y] };
    case "seal":
      return { node: x, step: "seal", txId: y, participant: x };
    case "watermark":
      return { ...register, step: "watermark", txId: x };
    case "prune":
      return { node: y || "register", step: "prune", txId: x, ...(y && { participant: y }) };
    case "crash":
    case "restart":
      return { node: x, step: verb };
    case "answer":
      return { node: "client", step: "answer", txId: x, key: "k", status: Number(y) };
    default:
      throw new Error(`no step ${verb}`);
  }
}

export const PREPARED = (tx: string, key = "", predecessor = ""): string =>
  `run ${tx} ${key} ${predecessor}\n${EVERYBODY.map((name) => `vote ${tx} ${name} yes`).join("\n")}\n`;

export const COMMITTED = (tx: string): string =>
  `${PREPARED(tx)}decide ${tx} commit\n${EVERYBODY.map((name) => `settle ${tx} ${name} commit\nacknowledge ${tx} ${name}`).join("\n")}\n`;
