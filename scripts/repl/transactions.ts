/**
 * The console's command `tx`: list, show, force and close transactions. It asks the service `transactions`, wherever
 * that runs, and answers the text to print; a mistake or a failure is one of its short sentences, never a stack.
 */
import type { TransactionState, TransactionView } from "../../actors/transaction-manager/transaction-view.ts";
import { age, type Cell, type Colour, money, type Paint, table } from "./paper.ts";

export interface TxArgs {
  action?: string | undefined;
  id?: string | undefined;
  outcome?: string | undefined;
  options: {
    reason?: string | undefined;
    heuristic?: string | undefined;
    state?: string | undefined;
    limit?: string | undefined;
    after?: string | undefined;
  };
}

export type Call = <Result>(action: string, params: object) => Promise<Result>;

export const USAGE = `tx list [--state in-doubt|heuristic] [--limit N] [--after CURSOR]
tx show ID
tx force ID commit|abort --reason "why" [--heuristic order,product,payment]
tx close ID --reason "what was put right"`;

/** What the operator got wrong. */
export class Mistake extends Error {}

export async function tx(call: Call, args: TxArgs, paint: Paint): Promise<string> {
  const { action, id, outcome, options } = args;
  switch (action) {
    case "list": {
      const { state = "in-doubt", limit, after } = options;
      const page = await call<Page>("transactions.list", {
        state,
        ...(limit === undefined ? {} : { limit }),
        ...(after === undefined ? {} : { cursor: after }),
      });
      return listText(page, state, paint);
    }
    case "show":
      return viewText(await call("transactions.show", { txId: idOf(id) }), paint);
    case "force": {
      if (outcome !== "commit" && outcome !== "abort")
        throw new Mistake(`say what it shall be: tx force ${id ?? "ID"} commit|abort --reason "why"`);
      const { heuristic } = options;
      const view = await call<TransactionView>("transactions.force", {
        txId: idOf(id),
        outcome,
        reason: reasonOf(options.reason),
        ...(heuristic === undefined ? {} : { heuristic: heuristic.split(",").map((name) => name.trim()) }),
      });
      return viewText(view, paint);
    }
    case "close":
      return viewText(
        await call("transactions.close", { txId: idOf(id), reason: reasonOf(options.reason) }),
        paint,
      );
    default:
      throw new Mistake(action === undefined ? USAGE : `there is no tx ${action}; there is\n${USAGE}`);
  }
}

interface Page {
  items: TransactionView[];
  nextCursor: string | null;
  unreachable: TransactionView["unreachable"];
}

function idOf(id: string | undefined): string {
  if (id) return id;
  throw new Mistake("name the transaction: its id is the order's; tx list shows those in doubt");
}

function reasonOf(reason: string | undefined): string {
  if (reason?.trim()) return reason;
  throw new Mistake('say why, for whoever reads it later: --reason "the manager is gone for good"');
}

const COLOURS: Record<TransactionState, Colour | undefined> = {
  "in-doubt": "yellow",
  committed: "green",
  aborted: "dim",
  heuristic: "yellow",
  "heuristic-mixed": "red",
  unknown: "yellow",
};

const stateCell = (state: TransactionState): Cell => ({ text: state, colour: COLOURS[state] });

function listText({ items, nextCursor, unreachable }: Page, state: string, paint: Paint): string {
  const rows = items.map((view) => [
    view.id,
    stateCell(view.state),
    age(view.ageMs),
    view.units === null ? "" : String(view.units),
    money(view.total),
    view.waitsFor.join(", "),
  ]);
  const what = state === "heuristic" ? "no open heuristics" : "nothing is in doubt";
  return [
    items.length > 0
      ? table(["TRANSACTION", "STATE", "AGE", "UNITS", "TOTAL", "WAITS FOR"], rows, paint)
      : `${what}${unreachable.length > 0 ? ", as far as could be asked" : ""}`,
    ...(nextCursor ? [`more: tx list --state ${state} --after ${nextCursor}`] : []),
    ...unreachableText(unreachable, paint),
  ].join("\n");
}

function viewText(view: TransactionView, paint: Paint): string {
  const { decision, enlisted, event, unreachable } = view;
  const isRegisterAway = unreachable.some(({ name }) => name === "transaction-manager");
  const decided = decision
    ? `${decision.outcome}, ${age(decision.ageMs)} ago${decision.settled ? "" : ", not acknowledged by all"}`
    : isRegisterAway
      ? "the register cannot be asked"
      : "none";
  const field = (name: string, text: string) => `${paint("bold", name.padEnd(9))} ${text}`;
  const state = stateCell(view.state);
  const lines = [
    field(
      "tx",
      `${view.id}  ${state.colour ? paint(state.colour, state.text) : state.text}${view.ageMs === null ? "" : `, ${age(view.ageMs)} old`}`,
    ),
    field("decision", decided),
    field("enlisted", enlisted?.join(", ") ?? "not known"),
    ...(view.userId ? [field("user", view.userId)] : []),
    ...(view.units !== null || view.total
      ? [
          field(
            "order",
            [
              view.units === null ? "" : `${view.units} ${view.units === 1 ? "unit" : "units"}`,
              money(view.total),
            ]
              .filter(Boolean)
              .join(", "),
          ),
        ]
      : []),
    ...(event ? [field("event", `${event.id}, ${event.published ? "published" : "not published yet"}`)] : []),
    table(
      ["PARTICIPANT", "VOTE", "AGE", "UNITS", "MONEY", "OWES", "ACKNOWLEDGED", "REFUSAL"],
      view.participants.map((each) => [
        each.name,
        { text: each.state, colour: each.state === "prepared" ? ("yellow" as const) : undefined },
        age(each.ageMs),
        each.units === null ? "" : String(each.units),
        money(each.money),
        each.debt ?? "",
        each.acknowledged ?? "",
        each.refusal?.reason ?? "",
      ]),
      paint,
    ),
  ];
  for (const { outcome, by, at, reason, stored } of view.forced)
    lines.push(
      `forced    ${outcome} by ${by} at ${at}: "${reason}"; the register says ${stored ?? "nothing"}`,
    );
  for (const { name, heuristics } of view.participants)
    for (const { outcome, stateBefore, by, at, reason, stored, closed } of heuristics) {
      const text = `heuristic ${stateBefore} -> ${outcome} at ${name} by ${by} at ${at}: "${reason}"; the register says ${stored ?? "nothing yet"}`;
      lines.push(closed ? text : paint("red", text));
      if (closed) lines.push(`  closed by ${closed.by} at ${closed.at}: "${closed.reason}"`);
    }
  return [...lines, ...unreachableText(unreachable, paint)].join("\n");
}

const unreachableText = (unreachable: TransactionView["unreachable"], paint: Paint): string[] =>
  unreachable.length === 0
    ? []
    : [
        paint(
          "red",
          `could not be asked: ${unreachable.map(({ name, code }) => `${name} (${code})`).join(", ")}`,
        ),
      ];
