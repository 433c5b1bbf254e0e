/** The participant's side of the commit protocol, the same for product, order and payment: votes and decisions. */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import type { PrepareEntry, PrepareReply } from "../../actors/protocol/messages.ts";
import { newId } from "../../lib/ids.ts";
import { entryOf } from "../support/replica.ts";
import { until } from "../support/until.ts";
import { Bench, type Subject } from "./subject.ts";

const YES: PrepareReply = { kind: "yes" };

export function describeVotes(subject: Subject): void {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open(subject);
  });
  afterEach(() => bench.stopReplicas());
  afterAll(() => bench.close());
  const entry = (options = {}): PrepareEntry => entryOf(bench.world.request(), options);
  const infeasible = (options = {}): PrepareEntry => entryOf(bench.world.infeasible().request, options);

  describe("a duplicate prepare", () => {
    test("gets the same yes at once, in the same batch, and at the same time, and holds once", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const twice = entry();
      expect(await replica.votes([twice, { ...twice }])).toEqual([YES, YES]);
      const atOnce = await Promise.all([1, 2, 3, 4].map(() => replica.vote({ ...twice })));
      expect(atOnce).toEqual([YES, YES, YES, YES]);
      expect(await bench.world.held()).toBe(before + 1);
      expect(await bench.state(twice.txId)).toBe("prepared");
    });

    test("gets the same vote after a restart, at another replica, and after its deadline", async () => {
      const first = await bench.replica();
      const before = await bench.world.held();
      const [yes, no] = [entry(), infeasible()];
      const votes = await first.votes([yes, no]);
      expect(votes).toMatchObject([YES, { kind: "no", reason: bench.world.infeasible().reason }]);
      const other = await bench.replica();
      expect(await other.votes([yes, no])).toEqual(votes);
      await first.stop();
      first.stop = async () => undefined;
      const restarted = await bench.replica();
      expect(await restarted.votes([no, yes])).toEqual(votes.toReversed());
      for (const budgetMs of [0, -1, -1e9])
        expect(
          await restarted.votes([
            { ...yes, budgetMs },
            { ...no, budgetMs },
          ]),
        ).toEqual(votes);
      expect(await bench.world.held()).toBe(before + 1);
    });

    test("at many replicas at the same moment is one vote", async () => {
      const replicas = await Promise.all([1, 2, 3].map(() => bench.replica()));
      const before = await bench.world.held();
      const entries = Array.from({ length: 20 }, () => entry());
      const replies = await Promise.all(
        replicas.flatMap((replica) => [replica.votes(entries), replica.votes(entries.toReversed())]),
      );
      for (const votes of replies) expect(votes).toEqual(entries.map(() => YES));
      expect(await bench.world.held()).toBe(before + 20);
    });

    test("gets yes after the commit, and no after the abort", async () => {
      const replica = await bench.replica();
      const [committed, aborted] = [entry(), entry()];
      await replica.votes([committed, aborted]);
      await until("committed", async () => (await replica.commit(committed.txId))[0] === "done");
      await replica.abort(aborted.txId);
      expect(await replica.votes([committed, aborted])).toEqual([YES, { kind: "no", reason: "aborted" }]);
    });
  });

  describe("the same txId with another request", () => {
    test("is a conflict, whatever became of the first", async () => {
      const replica = await bench.replica();
      const [prepared, committed, aborted, refused] = [entry(), entry(), entry(), infeasible()] as const;
      const all = [prepared, committed, aborted, refused];
      await replica.votes(all);
      await until("committed", async () => (await replica.commit(committed.txId))[0] === "done");
      await replica.abort(aborted.txId);
      const before = await bench.snapshot();
      for (const budgetMs of [1_000, -1])
        expect(
          await replica.votes(all.map(({ txId }) => ({ ...entry(), txId, hash: "another", budgetMs }))),
        ).toEqual(all.map(() => ({ kind: "conflict" })));
      expect(await bench.snapshot()).toBe(before);
    });

    test("in one batch: the first stands, the second is a conflict", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const first = entry();
      const votes = await replica.votes([first, { ...entry(), txId: first.txId, hash: "another" }, entry()]);
      expect(votes).toEqual([YES, { kind: "conflict" }, YES]);
      expect(await bench.world.held()).toBe(before + 2);
    });
  });

  describe("an abort", () => {
    test("of an unknown txId is acknowledged, and the late prepare votes no and holds nothing", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const late = entry();
      expect(await replica.abort(late.txId)).toEqual(["done"]);
      expect(await replica.votes([late, entry()])).toEqual([{ kind: "no", reason: "aborted" }, YES]);
      expect(await (await bench.replica()).vote(late)).toEqual({ kind: "no", reason: "aborted" });
      expect(await bench.world.held()).toBe(before + 1);
    });

    test("lets go of what was held, once, however often it is repeated", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const gone = entry();
      await replica.vote(gone);
      expect(await replica.abort(gone.txId, gone.txId)).toEqual(["done", "done"]);
      expect(await (await bench.replica()).abort(gone.txId)).toEqual(["done"]);
      await until("it is let go", async () => (await bench.world.held()) === before);
    });

    test("of a committed one is refused as a contradiction, and nothing changes", async () => {
      const replica = await bench.replica();
      const sold = entry();
      await replica.vote(sold);
      await until("committed", async () => (await replica.commit(sold.txId))[0] === "done");
      const before = await bench.snapshot();
      expect(await replica.abort(sold.txId)).toEqual(["contradiction"]);
      expect(await bench.snapshot()).toBe(before);
    });
  });

  describe("a commit", () => {
    test("has its effect once, however often it is repeated", async () => {
      const replica = await bench.replica();
      const [held, sold] = [await bench.world.held(), await bench.world.sold()];
      const bought = entry();
      await replica.vote(bought);
      await until("acknowledged", async () => (await replica.commit(bought.txId, bought.txId))[1] === "done");
      expect(await (await bench.replica()).commit(bought.txId)).toEqual(["done"]);
      expect(await bench.world.sold()).toBe(sold + 1);
      expect(await bench.world.held()).toBe(held);
    });

    test("of an unknown txId is never acknowledged, and leaves no trace", async () => {
      const replica = await bench.replica();
      const before = await bench.snapshot();
      const txId = newId();
      expect(await replica.commit(txId)).toEqual(["unknown"]);
      expect(await bench.snapshot()).toBe(before);
      expect(await replica.vote(entry({ txId }))).toEqual(YES);
    });

    test("of an aborted or refused one is a contradiction, and nothing changes", async () => {
      const replica = await bench.replica();
      const [aborted, refused, tombstone] = [entry(), infeasible(), newId()] as const;
      await replica.votes([aborted, refused]);
      await replica.abort(aborted.txId, tombstone);
      const before = await bench.snapshot();
      expect(await replica.commit(aborted.txId, refused.txId, tombstone)).toEqual([
        "contradiction",
        "contradiction",
        "contradiction",
      ]);
      expect(await bench.snapshot()).toBe(before);
    });

    test("in one batch with strangers concerns its own alone", async () => {
      const replica = await bench.replica();
      const [one, other] = [entry(), entry()];
      await replica.votes([one, other]);
      await replica.abort(other.txId);
      await until("acknowledged", async () => {
        const replies = await replica.commit(newId(), one.txId, other.txId);
        expect(replies).toEqual(["unknown", expect.stringMatching(/done|pending/), "contradiction"]);
        return replies[1] === "done";
      });
    });
  });

  describe("a deadline", () => {
    test("that has passed before the first prepare is a recorded no, for good", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const [late, later, inTime] = [entry({ budgetMs: 0 }), entry({ budgetMs: -5_000 }), entry()] as const;
      const no = { kind: "no", reason: "deadline_exceeded" };
      expect(await replica.votes([late, inTime, later])).toEqual([no, YES, no]);
      expect(await bench.state(late.txId)).toBe("aborted");
      expect(await (await bench.replica()).vote({ ...late, budgetMs: 60_000 })).toEqual(no);
      expect(await bench.world.held()).toBe(before + 1);
    });

    test("never touches a vote in doubt: ten years and back release nothing, and prepares go on", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const doubtful = entry();
      await replica.vote(doubtful);
      const real = Date.now;
      try {
        for (const years of [10, -10, 0]) {
          jest.spyOn(Date, "now").mockImplementation(() => real() + years * 365 * 86_400_000);
          expect(await replica.vote(doubtful)).toEqual(YES);
          expect(await replica.vote(entry())).toEqual(YES);
        }
      } finally {
        jest.restoreAllMocks();
      }
      expect(await replica.vote(entry())).toEqual(YES);
      expect(await bench.state(doubtful.txId)).toBe("prepared");
      expect(await bench.world.held()).toBe(before + 5);
    });
  });

  describe("a batch", () => {
    test.each([1, 5, 19])("of 20 with %i infeasible entries has exactly those vote no", async (k) => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const entries = Array.from({ length: 20 }, (_, i) => ((i * 7) % 20 < k ? infeasible() : entry()));
      const votes = await replica.votes(entries);
      expect(votes.map((vote) => vote.kind)).toEqual(
        entries.map((_, i) => ((i * 7) % 20 < k ? "no" : "yes")),
      );
      expect(await bench.world.held()).toBe(before + 20 - k);
      const states = await bench.states(entries.map(({ txId }) => txId));
      for (const [i, { txId }] of entries.entries())
        expect(states.get(txId)).toBe(votes[i]?.kind === "yes" ? "prepared" : "aborted");
    });

    test("with poison entries: each of them is an error, not a no, and no other vote changes", async () => {
      const replica = await bench.replica();
      for (const [wrong, request] of Object.entries(bench.world.poison)) {
        const before = await bench.world.held();
        const poison = entryOf(request);
        const entries = [entry(), infeasible(), poison, entry(), infeasible(), entry()];
        const votes = await replica.votes(entries);
        expect({ wrong, votes: votes.map((vote) => vote.kind) }).toEqual({
          wrong,
          votes: ["yes", "no", "error", "yes", "no", "yes"],
        });
        expect(await bench.world.held()).toBe(before + 3);
        expect(await bench.state(poison.txId)).toBeUndefined();
      }
    });
  });

  describe("the seal", () => {
    test("forgets what has no record at or below it, and keeps every record", async () => {
      const replica = await bench.replica();
      const [yes, no, sealed] = [entry(), infeasible(), entry()] as const;
      const votes = await replica.votes([yes, no]);
      await bench.setSeal(sealed.txId);
      try {
        const before = await bench.snapshot();
        const above = entry();
        expect(await replica.votes([sealed, yes, no])).toEqual([{ kind: "forgotten" }, ...votes]);
        expect(await replica.commit(sealed.txId)).toEqual(["forgotten"]);
        expect(await replica.abort(sealed.txId)).toEqual(["forgotten"]);
        expect(await bench.snapshot()).toBe(before);
        expect(await replica.votes([above, sealed])).toEqual([YES, { kind: "forgotten" }]);
        await until("committed", async () => (await replica.commit(yes.txId))[0] === "done");
      } finally {
        await bench.setSeal("00000000-0000-0000-0000-000000000000");
      }
    });
  });

  describe("a vote in doubt", () => {
    test("asks after a restart, waits while the answer is pending, and follows the outcome", async () => {
      const first = await bench.replica();
      const [held, sold] = [await bench.world.held(), await bench.world.sold()];
      const [commits, aborts, waits] = [entry(), entry(), entry()] as const;
      await first.votes([commits, aborts, waits]);
      const restarted = await bench.replica();
      let decided = false;
      restarted.outcome = ({ txId }) =>
        !decided || txId === waits.txId
          ? "pending"
          : txId === commits.txId
            ? "commit"
            : txId === aborts.txId
              ? "abort"
              : "forgotten";
      const asked = (txId: string) => restarted.inquiries.filter((inquiry) => inquiry.txId === txId);
      await until("it asks twice about each", () =>
        [commits, aborts, waits].every(({ txId }) => asked(txId).length >= 2),
      );
      expect(await bench.world.held()).toBe(held + 3);
      const waited = asked(waits.txId).map((inquiry) => inquiry.waitedMs);
      expect(waited).toEqual(waited.toSorted((a, b) => a - b));
      decided = true;
      await until(
        "both are settled",
        async () => (await bench.world.sold()) === sold + 1 && (await bench.world.held()) === held + 1,
      );
      expect(await bench.states([commits.txId, aborts.txId, waits.txId])).toEqual(
        new Map([
          [commits.txId, "committed"],
          [aborts.txId, "aborted"],
          [waits.txId, "prepared"],
        ]),
      );
    });
  });
}
