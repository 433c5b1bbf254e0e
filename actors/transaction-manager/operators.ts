/**
 * What operators may see and do (rule 8). It has no database: every participant and the register are asked for their own
 * part, and whoever cannot be asked is named instead of failing the whole.
 *
 * Force proposes a decision to the register wherever it can, like any driver (rule 2): the first writer wins, everybody
 * follows, nothing is heuristic. A commit is proposed only with a recorded yes of everybody enlisted; such a yes lasts
 * until an abort is stored, and then the proposal loses, so reading the votes and proposing need no lock. Only where the
 * register holds the other outcome or cannot be asked, and the operator names the participants, are their rows changed:
 * each records it durably, and it stays open until an operator closes it.
 */
import { ERRORS, type ErrorCode, ShopError } from "../../lib/errors.ts";
import { LOWEST_ID } from "../../lib/ids.ts";
import type { Outcome, TxId } from "../protocol/messages.ts";
import type { RegisterReport, VoteReport } from "../protocol/reports.ts";
import {
  missingVotes,
  openHeuristics,
  REGISTER,
  type TransactionView,
  type Unreachable,
  viewOf,
} from "./transaction-view.ts";

export interface OperatorPorts {
  /** Sends a message to a participant or to the register; rejects where it cannot be delivered. */
  ask<Result>(actor: string, message: string, params: object): Promise<Result>;
  /** Everybody who may be enlisted in a transaction, whether it can be reached or not. */
  participants(): string[];
  /** For what an operator must look at. */
  alarm(message: string, detail: object): void;
}

export interface TransactionPage {
  items: TransactionView[];
  /** The last transaction of a page that is not the last one. */
  last: TxId | undefined;
  unreachable: Unreachable[];
}

export interface ForceCommand {
  txId: TxId;
  outcome: Outcome;
  reason: string;
  by: string;
  /** Participants whose row is changed where the register contradicts or cannot be asked. */
  heuristic?: string[] | undefined;
}

export class Operators {
  readonly #ports: OperatorPorts;

  constructor(ports: OperatorPorts) {
    this.#ports = ports;
  }

  /** Oldest first, above `after`: what is in doubt, or what has an open heuristic. */
  async list(
    state: "in-doubt" | "heuristic",
    after: TxId | undefined,
    limit: number,
  ): Promise<TransactionPage> {
    const page = { after: after ?? LOWEST_ID, limit: limit + 1 };
    const message = state === "in-doubt" ? "inDoubt" : "heuristics";
    const { answers, unreachable } = await this.#askAll<TxId[]>(
      this.#ports.participants().map((name) => [name, message, page]),
      // A debt, or a vote, may be all that is left at a participant; an undelivered commit, all that is left here.
      state === "in-doubt" ? [[REGISTER, "undelivered", page]] : [],
    );
    // Each source answered its own first ones, so the first `limit` of all are among them.
    const found = [...new Set([...answers.values()].flat())].sort();
    const txIds = found.slice(0, limit);
    const views = txIds.length > 0 ? await this.#look(txIds, false) : [];
    return {
      // What was settled between the two questions is left out.
      items: views.filter((view) =>
        state === "heuristic"
          ? view.state.startsWith("heuristic")
          : !["committed", "aborted"].includes(view.state),
      ),
      last: found.length > limit ? txIds.at(-1) : undefined,
      unreachable: merge(
        unreachable,
        views.flatMap((view) => view.unreachable),
      ),
    };
  }

  /** Everything that is known of one transaction. */
  async show(txId: TxId): Promise<TransactionView> {
    const [view] = (await this.#look([txId], true)) as [TransactionView];
    const isKnown =
      view.decision || view.forced.length > 0 || view.participants.some(({ state }) => isRecord(state));
    if (isKnown) return view;
    if (view.unreachable.length === 0)
      throw new ShopError("not_found", `There is no transaction ${txId}; nobody has a record of it.`);
    throw new ShopError(
      "unavailable",
      `Nobody who can be asked knows ${txId}; ${namesOf(view)} cannot be reached.`,
    );
  }

  async force(command: ForceCommand): Promise<TransactionView> {
    const { txId, outcome, heuristic = [] } = command;
    const participants = this.#ports.participants();
    const unknown = heuristic.filter((name) => !participants.includes(name));
    if (unknown.length > 0)
      throw new ShopError(
        "validation_failed",
        `There is no participant ${unknown.join(", ")}; there are ${participants.join(", ")}.`,
        {
          errors: [
            {
              pointer: "/heuristic",
              code: "unknown_participant",
              message: `names ${unknown.join(", ")}; expected some of ${participants.join(", ")}`,
            },
          ],
        },
      );
    const view = await this.show(txId);
    const isAway = view.unreachable.some(({ name }) => name === REGISTER);
    const stored = view.decision?.outcome;
    if (!isAway && (stored === undefined || stored === outcome)) await this.#decide(view, command);
    else if (heuristic.length > 0) await this.#change(view, command, heuristic);
    else if (stored !== undefined) throw contradicted(txId, stored);
    else
      throw new ShopError(
        "unavailable",
        "The register cannot be asked, so nothing was done; name the participants to change without it.",
      );
    return this.show(txId);
  }

  /** Closes every open heuristic of a transaction whose outcome is known: the contradiction has been seen to. */
  async close(txId: TxId, reason: string, by: string): Promise<TransactionView> {
    const view = await this.show(txId);
    const open = openHeuristics(view);
    if (open.length === 0)
      throw view.unreachable.length > 0
        ? new ShopError(
            "unavailable",
            `No open heuristic of ${txId} is known; ${namesOf(view)} cannot be reached.`,
          )
        : new ShopError("not_found", `There is no open heuristic of ${txId}.`);
    if (!view.decision)
      throw new ShopError(
        "transaction_undecided",
        view.unreachable.some(({ name }) => name === REGISTER)
          ? `The register cannot be asked what became of ${txId}; close it when it can.`
          : `Nobody has decided ${txId} yet, so a contradiction could still come; force its outcome first.`,
      );
    const params = { txId, stored: view.decision.outcome, reason, by };
    for (const { name } of open) await this.#ports.ask(name, "closeHeuristic", params);
    return this.show(txId);
  }

  async #decide(view: TransactionView, { txId, outcome, reason, by }: ForceCommand): Promise<void> {
    if (outcome === "commit" && !view.decision) refuseMissing(view);
    const participants = view.enlisted ?? this.#ports.participants();
    const stored = await this.#ports.ask<Outcome | "forgotten">(REGISTER, "force", {
      txId,
      outcome,
      participants,
      reason,
      by,
    });
    if (stored === "forgotten")
      throw new ShopError(
        "transaction_forgotten",
        `${txId} is at or below the watermark: nothing may be decided there any more.`,
      );
    if (stored !== outcome) throw contradicted(txId, stored);
  }

  async #change(view: TransactionView, command: ForceCommand, names: string[]): Promise<void> {
    const { txId, outcome, reason, by } = command;
    const stored = view.decision?.outcome;
    const changed: string[] = [];
    for (const name of names) {
      try {
        await this.#ports.ask(name, "forceHeuristic", { txId, outcome, reason, by, stored: stored ?? null });
        changed.push(name);
      } catch (err) {
        const { code, message } = failureOf(err);
        throw new ShopError(
          code,
          changed.length > 0 ? `${message} Before it, ${changed.join(" and ")} was changed.` : message,
          { participant: name, changed },
        );
      }
    }
    if (stored)
      this.#ports.alarm(
        `heuristic-mixed: the register says ${stored}, ${by} chose ${outcome} at ${changed.join(", ")}`,
        { txId, reason },
      );
  }

  async #look(txIds: TxId[], full: boolean): Promise<TransactionView[]> {
    const names = this.#ports.participants();
    const [votes, register] = await Promise.all([
      this.#askAll<VoteReport[]>(names.map((name) => [name, "describe", { txIds, full }])),
      this.#askAll<RegisterReport>([[REGISTER, "describe", { txIds }]]),
    ]);
    const { decisions, forced } = register.answers.get(REGISTER) ?? { decisions: [], forced: [] };
    return txIds.map((txId) => {
      const decision = decisions.find((each) => each.txId === txId);
      const reports = new Map(
        names.map((name) => [name, votes.answers.get(name)?.find((each) => each.txId === txId)]),
      );
      return viewOf(txId, {
        decision,
        forced: forced.filter((each) => each.txId === txId),
        votes: reports,
        unreachable: merge(register.unreachable, votes.unreachable),
      });
    });
  }

  /** Everybody's answer, and who gave none. */
  async #askAll<Answer>(
    ...questions: [actor: string, message: string, params: object][][]
  ): Promise<{ answers: Map<string, Answer>; unreachable: Unreachable[] }> {
    const answers = new Map<string, Answer>();
    const unreachable: Unreachable[] = [];
    await Promise.all(
      questions.flat().map(async ([actor, message, params]) => {
        try {
          answers.set(actor, await this.#ports.ask<Answer>(actor, message, params));
        } catch (err) {
          const { code, message: why } = failureOf(err);
          if (code === "internal_error") this.#ports.alarm(`${actor} fails at ${message}: ${why}`, { err });
          unreachable.push({ name: actor, code });
        }
      }),
    );
    return { answers, unreachable: unreachable.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  }
}

const isRecord = (state: string): boolean => state !== "none" && state !== "unknown";

const namesOf = ({ unreachable }: TransactionView): string => unreachable.map(({ name }) => name).join(", ");

const merge = (...lists: (readonly Unreachable[])[]): Unreachable[] => [
  ...new Map(lists.flat().map((each) => [each.name, each])).values(),
];

const contradicted = (txId: TxId, stored: Outcome): ShopError =>
  new ShopError(
    "outcome_contradicted",
    `The register holds ${stored} for ${txId}, which is never changed; everybody follows it.`,
    { stored },
  );

function refuseMissing(view: TransactionView): void {
  if (view.enlisted === null)
    throw new ShopError(
      "vote_missing",
      `No vote that can be read says who takes part in ${view.id}, so nobody knows whose yes a commit needs; it can be aborted.`,
      { missing: [] },
    );
  const missing = missingVotes(view);
  if (missing.length === 0) return;
  const what = missing.map(({ name, state }) =>
    state === "none"
      ? `${name} has no vote`
      : state === "unknown"
        ? `${name} cannot be asked`
        : `${name} is ${state}`,
  );
  throw new ShopError(
    "vote_missing",
    `A commit needs the recorded yes of ${view.enlisted.join(", ")}: ${what.join(", ")}; nothing was done.`,
    { missing },
  );
}

/** The framework's own errors in our words. */
function failureOf(err: unknown): { code: ErrorCode; message: string } {
  const { type = "", message = String(err) } = err as { type?: string; message?: string };
  if (Object.hasOwn(ERRORS, type)) return { code: type as ErrorCode, message };
  if (type.startsWith("SERVICE_NOT_")) return { code: "unavailable", message: "It cannot be reached." };
  if (type === "REQUEST_TIMEOUT")
    return { code: "deadline_exceeded", message: "It did not answer in time; look whether it took effect." };
  return { code: "internal_error", message };
}
