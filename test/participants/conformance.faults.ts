/** The participant's side of the commit protocol where things break or collide: connections, deadlocks, rivals. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import type { PrepareEntry, PrepareReply } from "../../actors/protocol/messages.ts";
import { seeded } from "../support/random.ts";
import { entryOf, type Replica } from "../support/replica.ts";
import { until } from "../support/until.ts";
import { Bench, type Subject } from "./subject.ts";

const YES: PrepareReply = { kind: "yes" };
const PAIRS = 1_000;
const conflictOf = (code: string) => Object.assign(new Error("try again"), { code });

export function describeFaults(subject: Subject): void {
  let bench: Bench;
  beforeAll(async () => {
    bench = await Bench.open(subject);
  });
  afterEach(() => bench.stopReplicas());
  afterAll(() => bench.close());
  const entry = (options = {}): PrepareEntry => entryOf(bench.world.request(), options);
  const infeasible = (): PrepareEntry => entryOf(bench.world.infeasible().request);

  /** Holds every prepare inside its statement, because each of them share-locks the seal. */
  async function blocked(work: (rival: pg.Client) => Promise<void>): Promise<void> {
    const rival = new pg.Client({ connectionString: bench.url });
    await rival.connect();
    try {
      await rival.query("begin");
      await rival.query("update seal set tx_id = tx_id");
      await work(rival);
    } finally {
      await rival.end();
    }
  }
  const waiting = async (): Promise<number[]> => {
    const { rows } = await bench.db.query<{ pid: number }>({
      text: "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    });
    return rows.map((row) => row.pid);
  };
  const noVote = { kind: "error", code: "unavailable", message: expect.any(String) };

  describe("a connection that is lost", () => {
    test("before the COMMIT gives no vote, leaves no trace, and the duplicate is voted on", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const entries = [entry(), infeasible(), entry()];
      await blocked(async (rival) => {
        const preparing = replica.prepare(entries);
        const pids = await until("the prepare waits", async () => {
          const found = await waiting();
          return found.length > 0 && found;
        });
        await rival.query("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", [pids]);
        expect(await preparing).toEqual([noVote, noVote, noVote]);
        expect(await bench.states(entries.map(({ txId }) => txId))).toEqual(new Map());
      });
      const votes = await replica.votes(entries);
      expect(votes.map((vote) => vote.kind)).toEqual(["yes", "no", "yes"]);
      expect(await bench.world.held()).toBe(before + 2);
    });

    test("after the COMMIT gives no vote either, and the duplicate gets the recorded one", async () => {
      const replica = await bench.replica();
      const before = await bench.world.held();
      const entries = [entry(), infeasible(), entry()];
      let lost = 2; // the fast path, then the slow one: the vote is lost twice
      replica.db.around = async (run, name) => {
        const result = await run();
        if (!/in-doubt|debts/.test(name) && lost-- > 0)
          throw Object.assign(new Error("terminating connection"), { code: "57P01" });
        return result;
      };
      for (const reply of await replica.prepare(entries)) expect(reply).not.toMatchObject({ kind: "no" });
      const votes = await replica.votes(entries);
      expect(votes.map((vote) => vote.kind)).toEqual(["yes", "no", "yes"]);
      expect(await bench.world.held()).toBe(before + 2);
    });

    test("while its backend works on: the duplicate at another replica gets the one vote", async () => {
      const [first, second] = [await bench.replica(), await bench.replica()];
      const before = await bench.world.held();
      const entries = [entry(), entry()];
      const orphans: Promise<unknown>[] = [];
      await blocked(async (rival) => {
        first.db.around = (run, name) => {
          if (/in-doubt|debts/.test(name)) return run();
          const orphan = run();
          orphans.push(orphan.catch(() => undefined));
          return until("the server has the statement", async () => (await waiting()).length > 0).then(() => {
            throw Object.assign(new Error("Connection terminated unexpectedly"));
          });
        };
        expect(await first.prepare(entries)).toEqual([noVote, noVote]);
        const votes = second.votes(entries);
        await until("both wait", async () => (await waiting()).length >= 2);
        await rival.query("rollback");
        expect(await votes).toEqual([YES, YES]);
      });
      await Promise.all(orphans);
      expect(await second.votes(entries)).toEqual([YES, YES]);
      expect(await bench.world.held()).toBe(before + 2);
    });

    test("while a decision is carried out is not acknowledged, and the repeat is", async () => {
      const replica = await bench.replica();
      const [held, sold] = [await bench.world.held(), await bench.world.sold()];
      const [commits, aborts] = [entry(), entry()] as const;
      await replica.votes([commits, aborts]);
      for (const phase of ["commit", "abort"] as const) {
        let lost = true;
        replica.db.around = async (run, name) => {
          const result = await run();
          if (!/in-doubt|debts/.test(name) && lost) {
            lost = false;
            throw Object.assign(new Error("terminating connection"), { code: "57P01" });
          }
          return result;
        };
        const { txId } = phase === "commit" ? commits : aborts;
        expect(await replica[phase](txId)).toEqual(["pending"]);
        await until("acknowledged", async () => (await replica[phase](txId))[0] === "done");
      }
      expect(await bench.world.sold()).toBe(sold + 1);
      await until("nothing is held", async () => (await bench.world.held()) === held);
    });
  });

  describe.each(["40001", "40P01"])("a conflict %s inside a batch", (code) => {
    const conflict = () => conflictOf(code);

    test("at the COMMIT or before a statement is retried, and nothing is held twice", async () => {
      const replica = await bench.replica();
      const [held, sold] = [await bench.world.held(), await bench.world.sold()];
      let conflicts = 2;
      replica.db.around = async (run, name) => {
        if (name !== "transaction" && !/in-doubt|debts/.test(name) && conflicts-- > 0) throw conflict();
        return run();
      };
      let rollbacks = 2;
      replica.db.beforeCommit = () => {
        if (rollbacks-- > 0) throw conflict();
      };
      const entries = [entry(), infeasible(), entry()];
      const votes = await replica.votes(entries);
      expect(votes.map((vote) => vote.kind)).toEqual(["yes", "no", "yes"]);
      expect(await bench.world.held()).toBe(held + 2);
      conflicts = 2;
      await until("committed", async () => (await replica.commit(entries[0]?.txId ?? ""))[0] === "done");
      conflicts = 2;
      expect(await replica.abort(entries[2]?.txId ?? "")).toEqual(["done"]);
      expect(await bench.world.sold()).toBe(sold + 1);
      await until("nothing is held", async () => (await bench.world.held()) === held);
    });
  });

  if (subject.name === "product")
    test("a prepare with yes and no, and aborts of the same entries, meet no deadlock", async () => {
      const [one, other] = [await bench.replica(), await bench.replica()];
      for (let round = 0; round < 50; round++) {
        const entries = [infeasible(), entry(), infeasible(), entry()];
        await Promise.all([
          one.prepare(entries),
          other.abort(...entries.map(({ txId }) => txId).toReversed()),
        ]);
      }
      expect([...one.db.deadlocks, ...other.db.deadlocks]).toEqual([]);
    });

  test(`${PAIRS} pairs of prepare and abort at once: the abort holds, nothing stays held, no deadlock`, async () => {
    const random = seeded(`${subject.name} pairs`);
    const replicas = [await bench.replica(), await bench.replica()] as [Replica, Replica];
    const before = await bench.world.held();
    for (let wave = 0; wave < PAIRS / 50; wave++) {
      const entries = Array.from({ length: 50 }, () => (random.int(10) === 0 ? infeasible() : entry()));
      const [one, other] = wave % 2 ? replicas : (replicas.toReversed() as [Replica, Replica]);
      const half = random.int(50);
      const shuffled = entries.toSorted(() => random.next() - 0.5);
      const [votes, ...aborts] = await Promise.all([
        one.prepare(entries),
        one.abort(...shuffled.slice(0, half + 1).map(({ txId }) => txId)),
        other.abort(...shuffled.slice(half).map(({ txId }) => txId)),
      ]);
      expect(new Set(aborts.flat())).toEqual(new Set(["done"]));
      for (const vote of votes) expect(["yes", "no", "pending"]).toContain(vote.kind);
      const states = await bench.states(entries.map(({ txId }) => txId));
      expect(new Set(states.values())).toEqual(new Set(["aborted"]));
      expect(states.size).toBe(50);
    }
    await until("nothing is held", async () => (await bench.world.held()) === before);
    expect(replicas.flatMap(({ db }) => db.deadlocks)).toEqual([]);
  });

  test("overlapping batches of the same entries in any order, at two replicas, meet no deadlock", async () => {
    const random = seeded(`${subject.name} overlaps`);
    const replicas = [await bench.replica(), await bench.replica()];
    const before = await bench.world.held();
    for (let round = 0; round < 15; round++) {
      const entries = Array.from({ length: 30 }, () => (random.int(10) === 0 ? infeasible() : entry()));
      const shuffles = [1, 2, 3, 4].map(() => entries.toSorted(() => random.next() - 0.5).slice(0, 20));
      await Promise.all(shuffles.map((batch, i) => (replicas[i % 2] as Replica).votes(batch)));
      const txIds = entries.map(({ txId }) => txId);
      await Promise.all([
        replicas[0]?.votes(entries),
        replicas[1]?.commit(...txIds.slice(0, 20)),
        replicas[0]?.commit(...txIds.slice(10).toReversed()),
      ]);
      await Promise.all([replicas[0]?.abort(...txIds), replicas[1]?.abort(...txIds.toReversed())]);
    }
    await until("nothing is held", async () => (await bench.world.held()) === before);
    expect(replicas.flatMap(({ db }) => db.deadlocks)).toEqual([]);
  });
}
