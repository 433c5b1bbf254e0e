/** The inquiry loop: what it does with each answer, by a clock that runs a hundred times too fast. */
import { afterEach, expect, test } from "@jest/globals";
import { type Clock, realClock } from "../../actors/clock.ts";
import { Inquiries, type InquiryOptions } from "../../actors/inquiry.ts";
import { Supervisor } from "../../actors/supervisor.ts";
import { until } from "../support/until.ts";

const FAST = 100;
const fast: Clock = {
  ...realClock,
  now: () => realClock.now() * FAST,
  after: (ms, then) => realClock.after(ms / FAST, then),
};

let supervisor: Supervisor | undefined;
afterEach(() => supervisor?.stop());

/** Asks about what `inDoubt` answers; notes alarms and what is settled. */
function start(options: Pick<InquiryOptions, "ask"> & { inDoubt: () => string[] }) {
  const alarms: object[] = [];
  const settled: [string, string][] = [];
  let ticks = 0;
  supervisor = new Supervisor({ warn: () => {} }, fast);
  new Inquiries({
    votes: {
      inDoubt: async (limit) => {
        ticks++;
        return options.inDoubt().slice(0, limit);
      },
    },
    supervisor,
    ask: options.ask,
    alarm: (_, detail) => alarms.push(detail),
    settle: async (txId, outcome) => {
      settled.push([txId, outcome]);
      return "done";
    },
  });
  return { alarms, settled, ticks: () => ticks };
}

test("an outcome is carried out; pending changes nothing and is asked again", async () => {
  let asked = 0;
  const { settled } = start({
    inDoubt: () => (asked < 3 ? ["a"] : []),
    ask: async (inquiries) => inquiries.map(() => (++asked < 3 ? "pending" : "abort")),
  });
  await until("the outcome is carried out", () => settled.length > 0);
  expect(settled).toEqual([["a", "abort"]]);
});

test("many are all waited for from the beginning, and asked about in batches", async () => {
  const left = new Set(Array.from({ length: 1_200 }, (_, i) => `${i}`));
  const batches: number[] = [];
  const { settled } = start({
    inDoubt: () => [...left],
    ask: async (inquiries) => {
      batches.push(inquiries.length);
      for (const { txId } of inquiries) left.delete(txId);
      return inquiries.map(() => "abort");
    },
  });
  await until("all are settled", () => settled.length === 1_200);
  expect(batches).toEqual([500, 500, 200]);
});

test("a vote that is in doubt and forgotten needs an operator", async () => {
  const { alarms, settled } = start({ inDoubt: () => ["a"], ask: async () => ["forgotten"] });
  await until("an operator is called", () => alarms.length > 0);
  expect(alarms[0]).toEqual({ txId: "a" });
  expect(settled).toEqual([]);
});

test("a vote that another replica settled while the answer was under way calls no operator", async () => {
  let isSettled = false;
  let asked = 0;
  const { alarms, ticks } = start({
    inDoubt: () => (isSettled ? [] : ["a"]),
    ask: async () => {
      isSettled = true;
      asked++;
      return ["forgotten"];
    },
  });
  await until("it was asked about", () => asked > 0);
  const before = ticks();
  await until("the loop has gone on", () => ticks() > before + 2);
  expect(alarms).toEqual([]);
});
