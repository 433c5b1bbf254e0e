/** The replay accepts what the protocol does and refuses, at the very step, what it must never do. */
import { describe, expect, test } from "@jest/globals";
import { parseTrace, toPromela } from "../../scripts/model/promela.ts";
import { replay } from "../../scripts/model/spin.ts";
import { checked } from "./spin.ts";
import { COMMITTED, PREPARED, traceOf } from "./trace.ts";

/** Replays; answers "accepted", or the step that is refused, as it was written. */
async function verdict(lines: string): Promise<string> {
  const trace = traceOf(lines);
  const { text, lines: numbers } = toPromela(trace);
  const { accepted, refusedAt } = await replay(text);
  if (accepted) return "accepted";
  return (lines.trim().split("\n")[(numbers[(refusedAt as number) - 1] as number) - 1] as string).trim();
}

const SEALED = (tx: string) => `seal order ${tx}\nseal product ${tx}\nseal payment ${tx}\n`;

describe("a trace is accepted", () => {
  checked.each([
    ["of a commit", `${COMMITTED("a")}answer a 201`],
    [
      "of a refusal that nobody wrote down",
      "run a\nvote a order yes\nvote a product no\nsettle a order abort\nvote a payment tombstone",
    ],
    [
      "of a missing vote: the abort is written first",
      "run a\nvote a order yes\ndecide a abort\nsettle a order abort\nvote a product tombstone\nvote a payment tombstone",
    ],
    [
      "of a driver that meets the abort of another",
      `${PREPARED("a")}decide a abort\nread a commit abort\nsettle a order abort\nsettle a product abort\nsettle a payment abort`,
    ],
    [
      "of a commit whose driver died with the INSERT under way",
      `${PREPARED("a")}crash manager-a\nrestart manager-a\ndecide a commit\nsettle a order commit\nanswer a 201`,
    ],
    [
      "of a refusal whose driver died with the aborts under way",
      "run a\nvote a order yes\nvote a product no\ncrash manager-a\nsettle a order abort",
    ],
    [
      "of an attempt that replaces an aborted one",
      `${PREPARED("a", "k")}decide a abort\n${"run b k a\n"}settle a order abort\nvote b order yes\nvote b product yes\nvote b payment yes\ndecide b commit\nsettle b order commit\nanswer b 201`,
    ],
    [
      "of pruning, and a late INSERT that is refused",
      `${COMMITTED("a")}${PREPARED("b")}decide b abort\nsettle b order abort\nsettle b product abort\nsettle b payment abort\n${SEALED("b")}watermark b\nprune a\nprune a product\nprune a payment\nprune b\nprune b order\nread b commit nothing`,
    ],
    ["of a 202 for an order that has voted", "run a\nvote a order yes\nanswer a 202"],
    [
      "of many transactions in any order",
      `${PREPARED("b")}${COMMITTED("a")}${COMMITTED("d")}${COMMITTED("c")}decide b commit`,
    ],
  ])("%s", async (_, lines) => {
    expect(await verdict(lines)).toBe("accepted");
  });
});

describe("a trace is refused", () => {
  checked.each([
    ["a commit without all votes", "run a\nvote a order yes\nvote a product yes\n", "decide a commit"],
    [
      "a commit over a no",
      "run a\nvote a order yes\nvote a product yes\nvote a payment no\n",
      "decide a commit",
    ],
    ["a second decision", `${PREPARED("a")}decide a abort\n`, "decide a commit"],
    ["an outcome that is not what is stored", `${PREPARED("a")}decide a abort\n`, "read a commit commit"],
    ["a commit against the register", `${PREPARED("a")}decide a abort\n`, "settle a order commit"],
    ["an abort against the register", `${PREPARED("a")}decide a commit\n`, "settle a product abort"],
    ["an abort that nobody decided", PREPARED("a"), "settle a payment abort"],
    ["a commit that nobody decided", PREPARED("a"), "settle a order commit"],
    ["a second vote", "run a\nvote a order yes\n", "vote a order no"],
    [
      "a vote after the tombstone",
      "run a\nvote a order no\nvote a product tombstone\n",
      "vote a product yes",
    ],
    ["a tombstone that no abort left", "run a\nvote a order yes\n", "vote a product tombstone"],
    ["a vote below the seal", "run a\nseal product a\n", "vote a product yes"],
    ["a seal over a vote in doubt", PREPARED("a"), "seal order a"],
    [
      "a watermark that somebody has not sealed",
      `${COMMITTED("a")}seal order a\nseal product a\n`,
      "watermark a",
    ],
    [
      "a watermark over a commit that is not acknowledged",
      `${PREPARED("a")}decide a commit\nsettle a order commit\nsettle a product commit\nsettle a payment commit\n${SEALED("a")}`,
      "watermark a",
    ],
    ["a decision that is deleted above the watermark", COMMITTED("a"), "prune a"],
    ["a vote that is deleted above the watermark", COMMITTED("a"), "prune a product"],
    ["an order that is deleted", `${COMMITTED("a")}${SEALED("a")}watermark a\n`, "prune a order"],
    ["a decision below the watermark", `run a\n${SEALED("a")}watermark a\n`, "decide a abort"],
    [
      "an acknowledgement of what is not committed",
      `${PREPARED("a")}decide a commit\n`,
      "acknowledge a order",
    ],
    ["a key that is taken", `${PREPARED("a", "k")}run b k\n`, "vote b order yes"],
    ["a key that is taken from an attempt whose outcome nobody knows", `${PREPARED("a", "k")}`, "run b k a"],
    ["a 201 before the order is committed", `${PREPARED("a")}decide a commit\n`, "answer a 201"],
    ["a 202 for an order that has not voted", "run a\nvote a product yes\n", "answer a 202"],
    [
      "a commit proposed by a driver that died before it had the votes",
      "run a\nvote a order yes\ncrash manager-a\nvote a product yes\nvote a payment yes\n",
      "decide a commit",
    ],
  ])("at %s", async (_, lines, refused) => {
    expect(await verdict(`${lines}${refused}`)).toBe(refused);
  });
});

test("a trace that cannot be translated is an error that says why", () => {
  expect(() => toPromela(traceOf("vote a order yes"))).toThrow("runs no transaction");
  expect(() => toPromela(traceOf("run a\nvote b order yes"))).toThrow(
    "b stands in the trace, but nobody ran it",
  );
  expect(() => toPromela(traceOf("run a\nvote a stock yes"))).toThrow("no participant stock");
  expect(() => parseTrace('{"step":"run"}\n{')).toThrow("line 2 of the trace is no JSON");
});
