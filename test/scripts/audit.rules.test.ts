/** What the audit makes of the records of one transaction. */
import { expect, test } from "@jest/globals";
import type { TransactionRecords } from "../../scripts/audit/records.ts";
import { judge } from "../../scripts/audit/rules.ts";

const id = "01900000-0000-7000-8000-000000000001";
const NOTHING_PRUNED = "00000000-0000-0000-0000-000000000000";
const confirmed = {
  order: {
    id,
    state: "committed",
    user_id: "ann",
    total: "100",
    currency: "EUR",
    line_count: 1,
    line_total: "100",
    digest: "1",
    events: 1,
    rejections: 0,
    answered_pending: false,
    events_pruned: false,
    age_ms: 1,
  },
  product: { id, state: "committed", digest: "1", age_ms: 1 },
  payment: { id, state: "committed", debt: null, user_id: "ann", amount: "100", currency: "EUR", age_ms: 1 },
  decision: {
    id,
    outcome: "commit",
    participants: ["order", "product", "payment"],
    settled: true,
    age_ms: 1,
  },
} as unknown as TransactionRecords;
const textsOf = (records: TransactionRecords) =>
  judge(id, records, NOTHING_PRUNED).faults.map(({ text }) => text);

test("a closed heuristic explains what a changed vote can make, and nothing else", () => {
  const closed = { id, isOpen: false, reasons: ["the card was closed"] };
  const voided = {
    ...confirmed,
    payment: { ...confirmed.payment, state: "aborted", amount: "99" },
    order: { ...confirmed.order, line_total: "7", events: 2 },
    product: { ...confirmed.product, digest: "2" },
    paymentHeuristic: closed,
  } as TransactionRecords;
  expect(textsOf(confirmed)).toEqual([]);
  expect(textsOf(voided)).toEqual([
    expect.stringContaining("its lines are not those of its reservation"),
    expect.stringContaining("its total is 100 EUR, its payment 99 EUR"),
    expect.stringContaining("its lines add up to 7"),
    expect.stringContaining("2 events instead of 1"),
  ]);
  expect(judge(id, voided, NOTHING_PRUNED).heuristic?.faults).toEqual([
    expect.stringContaining("the register says commit, payment aborted"),
    expect.stringContaining("its payment was voided"),
  ]);
});

test.each([
  ["never", 0, false, ["told to be rejected 0 times instead of 1"]],
  ["once", 1, false, []],
  ["twice", 2, false, ["told to be rejected 2 times instead of 1"]],
  ["before events were deleted", 0, true, []],
])(
  "an order that was answered as pending and aborted was told as rejected %s",
  (_when, rejections, pruned, texts) => {
    const order = {
      ...confirmed.order,
      ...{ state: "aborted", answered_pending: true, events: 0, rejections, events_pruned: pruned },
    };
    expect(textsOf({ order } as TransactionRecords)).toEqual(
      texts.map((text) => expect.stringContaining(text)),
    );
  },
);
