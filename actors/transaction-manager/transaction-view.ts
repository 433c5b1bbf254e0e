/**
 * One transaction as an operator sees it, put together from the accounts of the register and of every participant. Pure.
 *
 * Who is enlisted is known from what was written down: from the register's decision, or before there is one from the
 * votes that carry the set (order's does, and order is enlisted in every checkout). Where neither is there nobody can
 * know whose yes a commit needs, and none can be forced: the absence of a row never proves that its participant was not
 * enlisted.
 */
import type { Money } from "../../lib/money.ts";
import type { Outcome, Refusal, TxId } from "../protocol/messages.ts";
import type { DecisionReport, ForcedDecision, Heuristic, VoteReport } from "../protocol/reports.ts";

/**
 * `in-doubt`: a vote waits for the outcome, a commit is not delivered, or a debt to the world outside is owed.
 * `heuristic`: an operator made a row final without the register, and nobody has closed that yet; `heuristic-mixed`:
 * and the register, or another participant, says the opposite. `unknown`: too little can be asked at the moment.
 */
export type TransactionState =
  | "in-doubt"
  | "committed"
  | "aborted"
  | "heuristic"
  | "heuristic-mixed"
  | "unknown";

export interface ParticipantView {
  name: string;
  /** `none`: it has no record; `unknown`: it could not be asked. */
  state: VoteReport["state"] | "none" | "unknown";
  ageMs: number | null;
  refusal: Refusal | null;
  debt: string | null;
  units: number | null;
  money: Money | null;
  /** Of a decided commit; null before. */
  acknowledged: "yes" | "no" | "heuristic" | null;
  heuristics: Heuristic[];
}

export interface Unreachable {
  name: string;
  /** A code of lib/errors.ts. */
  code: string;
}

export interface TransactionView {
  id: TxId;
  state: TransactionState;
  /** The age of its oldest record; null where none has a time. */
  ageMs: number | null;
  userId: string | null;
  units: number | null;
  total: Money | null;
  /** What it waits for, in words. */
  waitsFor: string[];
  decision: { outcome: Outcome; ageMs: number; settled: boolean } | null;
  /** Everybody enlisted; null where nothing that can be asked says so. */
  enlisted: string[] | null;
  participants: ParticipantView[];
  event: { id: string; published: boolean } | null;
  forced: Omit<ForcedDecision, "txId">[];
  unreachable: Unreachable[];
}

/** What everybody said of one transaction. */
export interface Accounts {
  decision: DecisionReport | undefined;
  forced: ForcedDecision[];
  /** By participant, in the order they are shown in; undefined where it has no record. */
  votes: ReadonlyMap<string, VoteReport | undefined>;
  unreachable: readonly Unreachable[];
}

export const REGISTER = "transaction-manager";

export function viewOf(id: TxId, accounts: Accounts): TransactionView {
  const { decision, forced, votes, unreachable } = accounts;
  const reports = [...votes.values()].filter((vote) => vote !== undefined);
  const enlisted = enlistedIn(decision, reports);
  const names = new Set([...votes.keys(), ...(enlisted ?? []), ...unreachable.map(({ name }) => name)]);
  names.delete(REGISTER);
  const participants = [...names]
    .map((name) => participantView(name, accounts))
    .filter(({ name, state }) => state !== "none" || enlisted?.includes(name));
  const ages = [...reports.map(({ ageMs }) => ageMs), decision?.ageMs ?? null].filter((age) => age !== null);
  const first = <Value>(pick: (report: VoteReport) => Value | null): Value | null =>
    reports.map(pick).find((value) => value !== null) ?? null;
  const waitsFor = waitsForOf(participants);
  return {
    id,
    state: stateOf(accounts, participants, waitsFor),
    ageMs: ages.length > 0 ? Math.round(Math.max(...ages)) : null,
    userId: first(({ userId }) => userId),
    units: first(({ units }) => units),
    total: first(({ money }) => money),
    waitsFor,
    decision: decision
      ? {
          outcome: decision.outcome,
          ageMs: Math.round(decision.ageMs),
          settled: decision.settled,
        }
      : null,
    enlisted,
    participants,
    event: first(({ event }) => event),
    forced: forced.map(({ txId: _, ...rest }) => rest),
    unreachable: [...unreachable],
  };
}

/** Whose recorded yes a commit still needs, with what is there instead. A participant that has committed voted yes. */
export function missingVotes({ enlisted, participants }: TransactionView): { name: string; state: string }[] {
  return (enlisted ?? []).flatMap((name) => {
    const state = participants.find((participant) => participant.name === name)?.state ?? "none";
    return state === "prepared" || state === "committed" ? [] : [{ name, state }];
  });
}

/** Heuristics that no operator has closed yet. */
export const openHeuristics = ({ participants }: TransactionView): ParticipantView[] =>
  participants.filter(({ heuristics }) => heuristics.some(({ closed }) => closed === null));

function enlistedIn(decision: DecisionReport | undefined, reports: VoteReport[]): string[] | null {
  // An abort that answered an inquiry names nobody.
  if (decision && decision.participants.length > 0) return decision.participants;
  const carried = reports.flatMap((report) => report.enlisted ?? []);
  return carried.length > 0 ? [...new Set(carried)] : null;
}

function participantView(name: string, { decision, votes, unreachable }: Accounts): ParticipantView {
  const vote = votes.get(name);
  const away = unreachable.some((each) => each.name === name);
  return {
    name,
    state: vote?.state ?? (away ? "unknown" : "none"),
    ageMs: vote?.ageMs == null ? null : Math.round(vote.ageMs),
    refusal: vote?.refusal ?? null,
    debt: vote?.debt ?? null,
    units: vote?.units ?? null,
    money: vote?.money ?? null,
    acknowledged: acknowledgementOf(name, decision),
    heuristics: vote?.heuristics ?? [],
  };
}

function acknowledgementOf(
  name: string,
  decision: DecisionReport | undefined,
): ParticipantView["acknowledged"] {
  if (decision?.outcome !== "commit" || !decision.participants.includes(name)) return null;
  if (decision.heuristic.includes(name)) return "heuristic";
  return decision.acknowledged.includes(name) ? "yes" : "no";
}

function waitsForOf(participants: ParticipantView[]): string[] {
  return participants.flatMap(({ name, state, debt, acknowledged }) => [
    ...(state === "prepared" || state === "authorizing" ? [`${name} ${state}`] : []),
    ...(debt ? [`${name} owes a ${debt}`] : []),
    ...(acknowledged === "no" && state !== "prepared" && !debt ? [`${name} has not acknowledged`] : []),
  ]);
}

function stateOf(
  { decision, unreachable }: Accounts,
  participants: ParticipantView[],
  waitsFor: string[],
): TransactionState {
  const states = new Set(participants.map(({ state }) => state));
  const open = participants.some(({ heuristics }) => heuristics.some(({ closed }) => closed === null));
  if (open) {
    const opposite = decision?.outcome === "commit" ? "aborted" : "committed";
    const isMixed = decision ? states.has(opposite) : states.has("committed") && states.has("aborted");
    return isMixed ? "heuristic-mixed" : "heuristic";
  }
  if (waitsFor.length > 0) return "in-doubt";
  if (decision) return decision.outcome === "commit" ? "committed" : "aborted";
  if (states.has("committed")) return "committed";
  if (states.has("aborted")) return "aborted";
  return unreachable.length > 0 ? "unknown" : "aborted";
}
