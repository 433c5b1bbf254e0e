/** The participant's side of the garbage rule, the same for product, order and payment: its seal, and pruning below it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import type { PrepareEntry, PrepareReply, TxId } from "../../actors/protocol/messages.ts";
import { newId } from "../../lib/ids.ts";
import { holdSteadily } from "../support/holders.ts";
import { seeded } from "../support/random.ts";
import { entryOf, type Replica } from "../support/replica.ts";
import { gate, until } from "../support/until.ts";
import { Bench, type Subject } from "./subject.ts";

const YES: PrepareReply = { kind: "yes" };
const FORGOTTEN: PrepareReply = { kind: "forgotten" };

export function describeGarbage(subject: Subject): void {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open(subject);
  });
  afterEach(() => bench.stopReplicas());
  afterAll(() => bench.close());
  const entry = (options = {}): PrepareEntry => entryOf(bench.world.request(), options);
  const infeasible = (): PrepareEntry => entryOf(bench.world.infeasible().request);

  const commit = (replica: Replica, ...entries: PrepareEntry[]) =>
    until("committed", async () => {
      const replies = await replica.commit(...entries.map(({ txId }) => txId));
      return replies.every((reply) => reply === "done");
    });

  /** Payment owes a void for a while after an abort, and stays unsealed for as long. */
  const sealed = (replica: Replica, upTo: TxId) =>
    until("it is sealed", async () => (await replica.raiseSeal(upTo)) === upTo);

  const rival = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: bench.url });
    await client.connect();
    return client;
  };
  const isSomeoneWaiting = async (): Promise<boolean> => {
    const { rows } = await bench.db.query({
      text: "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    });
    return rows.length > 0;
  };

  /** One committed, one aborted, one refused, one tombstone: everything a vote can end as. */
  async function finished(replica: Replica) {
    const [committed, aborted, refused, tombstone] = [entry(), entry(), infeasible(), entry()] as const;
    await replica.votes([committed, aborted, refused]);
    await commit(replica, committed);
    await replica.abort(aborted.txId, tombstone.txId);
    return { committed, gone: [aborted, refused, tombstone], upTo: tombstone.txId };
  }

  describe("a seal", () => {
    test("is not raised over a vote that an operator made final, until that is closed", async () => {
      const replica = await bench.replica();
      const before = await replica.raiseSeal(newId());
      const { txId } = entry();
      await bench.db.query({
        text: `insert into heuristics (tx_id, outcome, state_before, forced_by, reason)
               values ($1, 'abort', 'prepared', 'console', 'the register is away')`,
        values: [txId],
      });
      const above = newId();
      expect(await replica.raiseSeal(above)).toBe(before);
      await bench.db.query({
        text: "update heuristics set closed_at = now() where tx_id = $1",
        values: [txId],
      });
      await sealed(replica, above);
    });

    test("is raised over what is final, and never lowered", async () => {
      const replica = await bench.replica();
      const low = newId();
      const { upTo } = await finished(replica);
      await sealed(replica, upTo);
      expect(await replica.raiseSeal(low)).toBe(upTo);
      expect(await (await bench.replica()).raiseSeal(upTo)).toBe(upTo);
      expect(await replica.vote(entry())).toEqual(YES);
      await until("nothing is left in doubt", async () => {
        const { rows } = await bench.db.query<{ tx_id: TxId }>({
          text: `select ${subject.key} as tx_id from ${subject.table} where state not in ('committed', 'aborted')`,
        });
        if (rows.length > 0) await replica.abort(...rows.map((row) => row.tx_id));
        return rows.length === 0;
      });
    });

    test("is not raised over a vote in doubt, however late it is, nor over anything above that", async () => {
      const replica = await bench.replica();
      const before = await replica.raiseSeal(newId());
      const [below, doubtful, above] = [newId(), entry(), newId()] as const;
      await replica.vote(doubtful);
      expect(await replica.raiseSeal(doubtful.txId)).toBe(before);
      expect(await replica.raiseSeal(above)).toBe(before);
      expect(await replica.raiseSeal(below)).toBe(below);
      expect(await replica.vote(doubtful)).toEqual(YES);
      await commit(replica, doubtful);
      await sealed(replica, above);
    });

    test("that a prepare under way holds is left for later, soon enough for others to pass", async () => {
      const replica = await bench.replica();
      const before = await replica.raiseSeal(newId());
      const holder = await rival();
      try {
        await holder.query("begin; select tx_id from seal for share");
        const upTo = newId();
        const raising = replica.raiseSeal(upTo);
        await until("the raising waits", isSomeoneWaiting);
        const doubtful = entry();
        // It queues behind the raising, which gives up while the holder still holds.
        expect(await replica.vote(doubtful)).toEqual(YES);
        expect(await raising).toBe(before);
        await commit(replica, doubtful);
        await holder.query("commit");
        await sealed(replica, upTo);
      } finally {
        await holder.end();
      }
    });

    test("that waits for a prepare under way sees the vote it recorded", async () => {
      const replica = await bench.replica();
      const before = await replica.raiseSeal(newId());
      const preparing = await rival();
      try {
        const [txId, upTo] = [newId(), newId()] as const;
        await preparing.query("begin; select tx_id from seal for share");
        await preparing.query(
          `insert into ${subject.table} (${subject.key}, state) values ($1, 'prepared')`,
          [txId],
        );
        const raising = replica.raiseSeal(upTo);
        await until("the raising waits", isSomeoneWaiting);
        await preparing.query("commit");
        expect(await raising).toBe(before);
        await replica.abort(txId);
        await sealed(replica, upTo);
      } finally {
        await preparing.end();
      }
    });

    test("is raised although somebody holds it at every moment", async () => {
      const replica = await bench.replica();
      const holders = await holdSteadily(bench.url, "seal");
      try {
        for (let round = 0; round < 5; round++) {
          const upTo = newId();
          expect(await replica.raiseSeal(upTo)).toBe(upTo);
        }
        expect(holders.isHolding).toBe(true);
      } finally {
        await holders.stop();
      }
    });

    test("that is being raised makes a prepare wait, which is then forgotten and leaves no trace", async () => {
      const replica = await bench.replica();
      const late = [entry(), infeasible(), entry()];
      const raiser = await rival();
      try {
        const upTo = newId();
        await raiser.query("begin; lock table seal in exclusive mode");
        await raiser.query("update seal set tx_id = $1", [upTo]);
        const before = await bench.world.held();
        const voting = replica.votes(late);
        const aborting = replica.abort(late[2]?.txId as TxId);
        await until("the prepare waits", isSomeoneWaiting);
        await raiser.query("commit");
        expect(await voting).toEqual([FORGOTTEN, FORGOTTEN, FORGOTTEN]);
        expect(await aborting).toEqual(["forgotten"]);
        expect(await bench.states(late.map(({ txId }) => txId))).toEqual(new Map());
        expect(await bench.world.held()).toBe(before);
      } finally {
        await raiser.end();
      }
    });

    test("raised while an abort is under way: no tombstone is left below it", async () => {
      const [replica, other] = await Promise.all([bench.replica(), bench.replica()]);
      const [txId, upTo] = [newId(), newId()] as const;
      replica.db.around = async (run, name) => {
        if (name.startsWith("tombstone")) expect(await other.raiseSeal(upTo)).toBe(upTo);
        return run();
      };
      expect(await replica.abort(txId)).toEqual(["forgotten"]);
      expect(await bench.state(txId)).toBeUndefined();
      expect(await replica.raiseSeal(upTo)).toBe(upTo);
    });

    test("raised beside live prepares never passes a vote in doubt", async () => {
      const random = seeded(`${subject.name}: seals beside prepares`);
      const replicas = await Promise.all([bench.replica(), bench.replica()]);
      const doubtful: PrepareEntry[] = [];
      const held = await bench.world.held();
      const preparing = Array.from({ length: 40 }, async () => {
        const entries = Array.from({ length: 1 + random.int(8) }, () => entry());
        await new Promise((resolve) => setImmediate(resolve));
        const votes = await random.pick(replicas).votes(entries);
        for (const [i, vote] of votes.entries()) {
          if (vote.kind === "yes") doubtful.push(entries[i] as PrepareEntry);
          else expect(vote).toEqual(FORGOTTEN);
        }
      });
      let isOver = false;
      const raising = (async () => {
        while (!isOver) {
          await random.pick(replicas).raiseSeal(newId());
          const some = doubtful.splice(0, 5);
          if (some.length > 0) await commit(random.pick(replicas), ...some);
        }
      })();
      await Promise.all(preparing);
      isOver = true;
      await raising;
      const { rows } = await bench.db.query<{ n: number }>({
        text: `select count(*)::int as n from ${subject.table} v, seal s
               where state not in ('committed', 'aborted') and v.${subject.key} <= s.tx_id`,
      });
      expect(rows[0]?.n).toBe(0);
      if (doubtful.length > 0) await commit(replicas[0] as Replica, ...doubtful);
      await until("nothing is held", async () => (await bench.world.held()) === held);
    });
  });

  describe("pruning", () => {
    test("is refused above the participant's own seal, and deletes nothing", async () => {
      const replica = await bench.replica();
      const { upTo } = await finished(replica);
      const before = await bench.counts();
      await expect(replica.prune(upTo)).rejects.toThrow(/is above the seal .*nothing is deleted/);
      expect(await bench.counts()).toEqual(before);
      await sealed(replica, upTo);
    });

    test("deletes votes that are final, and no message of theirs changes anything ever after", async () => {
      const replica = await bench.replica();
      const old = await finished(replica);
      const young = await finished(replica);
      await sealed(replica, old.upTo);
      await bench.snapshot(); // what payment owes is paid
      const balances = [await bench.world.held(), await bench.world.sold()];
      await replica.prune(old.upTo);
      expect(await replica.prune(old.upTo)).toBe(0);
      const states = await bench.states([old.committed, ...old.gone].map(({ txId }) => txId));
      expect([...states.values()]).toEqual(subject.keepsCommitted ? ["committed"] : []);
      expect((await bench.states([young.committed, ...young.gone].map(({ txId }) => txId))).size).toBe(4);

      const before = await bench.snapshot();
      const others = await Promise.all([bench.replica(), bench.replica()]);
      for (const each of [replica, ...others]) {
        for (const { txId, ...message } of old.gone) {
          for (const budgetMs of [60_000, -1])
            expect(await each.vote({ txId, ...message, budgetMs })).toEqual(FORGOTTEN);
          expect(await each.vote({ txId, ...message, hash: "another" })).toEqual(FORGOTTEN);
          expect(await each.commit(txId)).toEqual(["forgotten"]);
          expect(await each.abort(txId)).toEqual(["forgotten"]);
        }
        const kept = subject.keepsCommitted;
        expect(await each.vote(old.committed)).toEqual(kept ? YES : FORGOTTEN);
        expect(await each.commit(old.committed.txId)).toEqual([kept ? "done" : "forgotten"]);
        expect(await each.abort(old.committed.txId)).toEqual([kept ? "contradiction" : "forgotten"]);
      }
      expect(await bench.snapshot()).toBe(before);
      expect([await bench.world.held(), await bench.world.sold()]).toEqual(balances);
    });

    test("goes in batches, lowest first, and two at once delete each row once", async () => {
      const replicas = await Promise.all([bench.replica(), bench.replica()]);
      const [first, second] = replicas as [Replica, Replica];
      const refused = Array.from({ length: 20 }, infeasible);
      await first.votes(refused);
      const upTo = refused.at(-1)?.txId as TxId;
      await sealed(first, upTo);
      while ((await first.prune((refused[0] as PrepareEntry).txId)) > 0);
      expect(await first.prune(upTo, 5)).toBe(5);
      expect([...(await bench.states(refused.map(({ txId }) => txId))).keys()].toSorted()).toEqual(
        refused.slice(6).map(({ txId }) => txId),
      );
      const counts = await Promise.all(
        [1, 2, 3, 4].flatMap(() => [first.prune(upTo, 6), second.prune(upTo, 6)]),
      );
      expect(counts.reduce((sum, count) => sum + count)).toBe(14);
    });

    test("beside live prepares and commits leaves them alone", async () => {
      const replicas = await Promise.all([bench.replica(), bench.replica()]);
      const [first, second] = replicas as [Replica, Replica];
      const [held, sold] = [await bench.world.held(), await bench.world.sold()];
      const started = gate();
      let isOver = false;
      const pruning = (async () => {
        for (let round = 0; !isOver; round++) {
          await second.prune(await second.raiseSeal(newId()), 3);
          if (round === 1) started.open();
        }
      })();
      await started.promise;
      let bought = 0;
      for (let round = 0; round < 15; round++) {
        const entries = [entry(), infeasible(), entry(), entry()];
        const votes = await first.votes(entries);
        const yes = entries.filter((_, i) => votes[i]?.kind === "yes");
        if (yes.length === 0) continue;
        await commit(first, ...yes.slice(1));
        await second.abort((yes[0] as PrepareEntry).txId);
        bought += yes.length - 1;
      }
      isOver = true;
      await pruning;
      expect(bought).toBeGreaterThan(0);
      expect(await bench.world.sold()).toBe(sold + bought);
      await until("nothing is held", async () => (await bench.world.held()) === held);
    });
  });
}
