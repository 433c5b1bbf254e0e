/** What an operator is told of a transaction, from what everybody says of it. */
import { describe, expect, test } from "@jest/globals";
import type { DecisionReport, Heuristic, VoteReport } from "../../../actors/protocol/reports.ts";
import { type Accounts, missingVotes, viewOf } from "../../../actors/transaction-manager/transaction-view.ts";

const ID = "01900000-0000-7000-8000-000000000001";
const ENLISTED = ["order", "product", "payment"];

const vote = (state: VoteReport["state"], more: Partial<VoteReport> = {}): VoteReport => ({
  txId: ID,
  state,
  ageMs: 1_000,
  refusal: null,
  debt: null,
  enlisted: null,
  userId: null,
  units: null,
  money: null,
  event: null,
  heuristics: [],
  ...more,
});
const decided = (outcome: "commit" | "abort", more: Partial<DecisionReport> = {}): DecisionReport => ({
  txId: ID,
  outcome,
  participants: ENLISTED,
  acknowledged: outcome === "commit" ? ENLISTED : [],
  heuristic: [],
  settled: true,
  ageMs: 500,
  ...more,
});
const heuristic = (outcome: "commit" | "abort", closed = false): Heuristic => ({
  outcome,
  stateBefore: "prepared",
  by: "ann",
  reason: "why",
  at: "2026-01-01T00:00:00.000Z",
  stored: null,
  closed: closed ? { by: "bob", reason: "done", at: "2026-01-02T00:00:00.000Z" } : null,
});

function view(
  votes: Partial<Record<"order" | "product" | "payment", VoteReport>>,
  more: Partial<Accounts> = {},
) {
  return viewOf(ID, {
    decision: undefined,
    forced: [],
    votes: new Map(ENLISTED.map((name) => [name, votes[name as keyof typeof votes]] as const)),
    unreachable: [],
    ...more,
  });
}
const all = (state: VoteReport["state"]) => ({
  order: vote(state, { enlisted: ENLISTED }),
  product: vote(state),
  payment: vote(state),
});

describe("its state", () => {
  test.each([
    ["in-doubt", view(all("prepared"))],
    ["in-doubt", view({ ...all("aborted"), payment: vote("authorizing") })],
    ["in-doubt", view({ ...all("aborted"), payment: vote("aborted", { debt: "void" }) })],
    ["in-doubt", view(all("committed"), { decision: decided("commit", { acknowledged: ["order"] }) })],
    ["committed", view(all("committed"), { decision: decided("commit") })],
    ["aborted", view(all("aborted"), { decision: decided("abort") })],
    ["aborted", view({ order: vote("aborted") })],
    ["aborted", view({}, { decision: decided("abort", { participants: [] }) })],
    [
      "heuristic",
      view({ ...all("prepared"), product: vote("aborted", { heuristics: [heuristic("abort")] }) }),
    ],
    [
      "heuristic-mixed",
      view(
        { ...all("committed"), product: vote("aborted", { heuristics: [heuristic("abort")] }) },
        { decision: decided("commit", { heuristic: ["product"] }) },
      ),
    ],
    [
      "heuristic-mixed",
      view({ ...all("aborted"), product: vote("committed", { heuristics: [heuristic("commit")] }) }),
    ],
    [
      "committed",
      view(
        { ...all("committed"), product: vote("aborted", { heuristics: [heuristic("abort", true)] }) },
        { decision: decided("commit", { heuristic: ["product"] }) },
      ),
    ],
    ["unknown", view({}, { unreachable: [{ name: "order", code: "unavailable" }] })],
  ])("is %s", (state, seen) => {
    expect(seen.state).toBe(state);
  });

  test("says what it waits for", () => {
    expect(
      view(
        {
          order: vote("committed", { enlisted: ENLISTED }),
          product: vote("prepared"),
          payment: vote("committed", { debt: "capture" }),
        },
        { decision: decided("commit", { acknowledged: [], settled: false }) },
      ).waitsFor,
    ).toEqual(["order has not acknowledged", "product prepared", "payment owes a capture"]);
  });
});

describe("who is enlisted", () => {
  test("is what the decision says, or else what a vote carries, or else not known", () => {
    expect(view({}, { decision: decided("commit", { participants: ["order"] }) }).enlisted).toEqual([
      "order",
    ]);
    expect(view(all("prepared")).enlisted).toEqual(ENLISTED);
    expect(view({ product: vote("prepared") }).enlisted).toBeNull();
    // An abort that answered an inquiry names nobody.
    expect(view(all("prepared"), { decision: decided("abort", { participants: [] }) }).enlisted).toEqual(
      ENLISTED,
    );
  });

  test("shows those that have no record, and those that cannot be asked", () => {
    const { participants } = view(
      { order: vote("prepared", { enlisted: [...ENLISTED, "voucher"] }), product: vote("prepared") },
      { unreachable: [{ name: "voucher", code: "unavailable" }] },
    );
    expect(participants.map(({ name, state }) => [name, state])).toEqual([
      ["order", "prepared"],
      ["product", "prepared"],
      ["payment", "none"],
      ["voucher", "unknown"],
    ]);
  });

  test("decides whose yes a commit still needs", () => {
    const away = [{ name: "payment", code: "unavailable" }];
    expect(missingVotes(view(all("prepared")))).toEqual([]);
    expect(
      missingVotes(
        view(
          { order: vote("prepared", { enlisted: ENLISTED }), product: vote("aborted") },
          { unreachable: away },
        ),
      ),
    ).toEqual([
      { name: "product", state: "aborted" },
      { name: "payment", state: "unknown" },
    ]);
  });
});
