/** Payment and its card gateway: slow, silent, failing and late answers, and crashes between the steps. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import type { PrepareEntry } from "../../actors/protocol/messages.ts";
import { newId } from "../../lib/ids.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { ScriptedGateway } from "../support/card-gateway.ts";
import { entryOf, openReplica, type Replica } from "../support/replica.ts";
import { gate, until } from "../support/until.ts";
import { paymentFactory, paymentRequest } from "./payment.subject.ts";

let databases: TestDatabases;
let db: Database;
let gateway: ScriptedGateway;
let alarms: string[];
let replicas: Replica[] = [];
beforeAll(async () => {
  databases = await cloneDatabases(["payment"]);
  db = openDatabase(databases.urlOf("payment"), 2);
});
beforeEach(() => {
  gateway = new ScriptedGateway();
  alarms = [];
});
afterEach(async () => {
  await Promise.all(replicas.map((replica) => replica.stop()));
  replicas = [];
});
afterAll(async () => {
  await db.close();
  await databases.drop();
});

async function open(): Promise<Replica> {
  const replica = await openReplica(databases.urlOf("payment"), paymentFactory(gateway, alarms));
  replicas.push(replica);
  return replica;
}
async function row(txId: string): Promise<{ state: string; debt: string | null } | undefined> {
  const { rows } = await db.query<{ state: string; debt: string | null }>({
    text: "select state, debt from payments where tx_id = $1",
    values: [txId],
  });
  return rows[0];
}
const entry = (token: string): PrepareEntry => entryOf(paymentRequest(token));
const YES = { kind: "yes" };

test("a slow card in a batch is pending, and delays none of the others", async () => {
  const replica = await open();
  const answer = gate();
  gateway.scripts.set("tok_slow", async ({ key }) => {
    await answer.promise;
    return gateway.approve(key);
  });
  await replica.votes([entry("tok_ok")]); // connections are open, plans are made
  const slow = entry("tok_slow");
  const batch = [entry("tok_ok"), slow, ...Array.from({ length: 18 }, () => entry("tok_ok"))];
  const startedAt = performance.now();
  const first = await replica.prepare(batch);
  expect(first[1]).toEqual({ kind: "pending" });
  const fast = batch.filter((each) => each !== slow);
  expect((await replica.votes(fast)).every((vote) => vote.kind === "yes")).toBe(true);
  // About 50 ms on an idle machine; a test machine may be busy, and the slow card has still not answered.
  expect(performance.now() - startedAt).toBeLessThan(500);
  expect(await replica.prepare([slow])).toEqual([{ kind: "pending" }]);
  answer.open();
  expect(await replica.vote(slow)).toEqual(YES);
  expect(gateway.times("authorize", slow.txId)).toBe(1);
});

test("a gateway that authorizes but never answers is asked by key: one authorization", async () => {
  const replica = await open();
  gateway.scripts.set("tok_timeout", ({ key }) => {
    gateway.approve(key);
    return new Promise(() => undefined);
  });
  const silent = entry("tok_timeout");
  expect(await replica.vote(silent)).toEqual(YES);
  expect(gateway.holds.get(silent.txId)).toBe(1);
  expect(gateway.times("authorize", silent.txId)).toBe(1);
  expect(gateway.times("lookup", silent.txId)).toBe(1);
});

test("a key that the gateway does not know is not a decline: the call is repeated with the same key", async () => {
  const replica = await open();
  let failures = 1;
  gateway.scripts.set("tok_lossy", async ({ key }) => {
    if (failures-- > 0) throw new Error("connection reset");
    return gateway.approve(key);
  });
  const lossy = entry("tok_lossy");
  expect(await replica.vote(lossy)).toEqual(YES);
  expect(gateway.times("authorize", lossy.txId)).toBe(2);
  expect(gateway.holds.get(lossy.txId)).toBe(1);
});

test("a gateway that cannot work is an error and no vote; a later prepare is voted on", async () => {
  const replica = await open();
  let closed = true;
  gateway.scripts.set("tok_later", async ({ key }) => {
    if (closed) throw Object.assign(new Error("closed"), { type: "payment_unavailable" });
    return gateway.approve(key);
  });
  const later = entry("tok_later");
  expect(await replica.vote(later)).toMatchObject({ kind: "error", code: "payment_unavailable" });
  expect(await row(later.txId)).toEqual({ state: "authorizing", debt: null });
  closed = false;
  expect(await replica.vote(later)).toEqual(YES);
});

test("a card that two replicas authorize at once gets one vote: the later record is no reason for a no", async () => {
  const [one, two] = [await open(), await open()];
  for (let round = 0; round < 20; round++) {
    const [reached, recorded] = [gate(), gate()];
    one.db.around = async (run, name) => {
      if (name !== "record-answers") return run();
      await reached.promise;
      const result = await run();
      recorded.open();
      return result;
    };
    two.db.around = async (run, name) => {
      if (name !== "record-answers") return run();
      reached.open();
      await recorded.promise;
      return run();
    };
    const shared = entry("tok_ok");
    expect(await one.prepare([shared])).toEqual([{ kind: "pending" }]);
    expect(await two.vote(shared)).toEqual(YES);
    expect(await one.vote(shared)).toEqual(YES);
    expect(gateway.holds.get(shared.txId)).toBe(1);
  }
});

describe("an abort", () => {
  test("while the card is being authorized leaves a debt, and what is then held is voided", async () => {
    const replica = await open();
    const answer = gate();
    gateway.scripts.set("tok_slow", async ({ key }) => {
      await answer.promise;
      return gateway.approve(key);
    });
    const slow = entry("tok_slow");
    expect(await replica.prepare([slow])).toEqual([{ kind: "pending" }]);
    expect(await replica.abort(slow.txId)).toEqual(["done"]);
    expect(await row(slow.txId)).toEqual({ state: "aborted", debt: "void" });
    answer.open();
    await until("the debt is paid", async () => (await row(slow.txId))?.debt === null);
    expect(gateway.cards.get(slow.txId)).toBe("voided");
    expect(await replica.vote(slow)).toEqual({ kind: "no", reason: "aborted" });
  });

  test("after the gateway knew nothing: an approval that arrives late is voided", async () => {
    const replica = await open();
    const late = gate();
    gateway.lookupFinds = false;
    gateway.scripts.set("tok_late", async ({ key }) => {
      // The call is lost on its way and reaches the bank only later.
      if (gateway.times("authorize", key) === 1) void late.promise.then(() => gateway.approve(key));
      throw new Error("connection reset");
    });
    const lost = entry("tok_late");
    expect(await replica.vote(lost)).toMatchObject({ kind: "error" });
    late.open();
    await until("the bank holds the money", () => gateway.cards.get(lost.txId) === "held");
    expect(await replica.abort(lost.txId)).toEqual(["done"]);
    await until("it is voided", () => gateway.cards.get(lost.txId) === "voided");
    await until("the debt is paid", async () => (await row(lost.txId))?.debt === null);
  });

  test("at another replica than the one that authorizes ends with nothing held", async () => {
    const [one, other] = [await open(), await open()];
    const answer = gate();
    gateway.scripts.set("tok_slow", async ({ key }) => {
      await answer.promise;
      return gateway.approve(key);
    });
    const slow = entry("tok_slow");
    await one.prepare([slow]);
    expect(await other.abort(slow.txId)).toEqual(["done"]);
    answer.open();
    expect(await one.vote(slow)).toEqual({ kind: "no", reason: "aborted" });
    expect(gateway.count("held")).toBe(0);
  });

  test("is done at once while the gateway is away, and the void is paid when it is back", async () => {
    const replica = await open();
    const held = entry("tok_ok");
    await replica.vote(held);
    let away = true;
    gateway.beforeVoid = () => {
      if (away) throw new Error("away");
    };
    expect(await replica.abort(held.txId)).toEqual(["done"]);
    expect(await row(held.txId)).toEqual({ state: "aborted", debt: "void" });
    await until("somebody is told", async () => alarms.length > 0);
    away = false;
    await until("the debt is paid", async () => (await row(held.txId))?.debt === null);
    expect(gateway.cards.get(held.txId)).toBe("voided");
  });

  test("has its card voided although more debts than are looked at together can never be paid", async () => {
    const lost = Array.from({ length: 200 }, () => newId());
    await db.query({
      text: `insert into payments (tx_id, state, debt) select t, 'committed', 'capture' from unnest($1::uuid[]) as t`,
      values: [lost],
    });
    try {
      const replica = await open();
      const held = entry("tok_ok");
      await replica.vote(held);
      gateway.beforeVoid = () => {
        gateway.beforeVoid = () => undefined;
        throw new Error("away");
      };
      await replica.abort(held.txId);
      await until("the debt is paid", async () => (await row(held.txId))?.debt === null);
      expect(gateway.cards.get(held.txId)).toBe("voided");
    } finally {
      await db.query({ text: "delete from payments where tx_id = any($1::uuid[])", values: [lost] });
    }
  });
});

describe("a commit", () => {
  test("is acknowledged only when the capture is durable", async () => {
    const replica = await open();
    const bought = entry("tok_ok");
    await replica.vote(bought);
    let away = true;
    gateway.beforeCapture = () => {
      if (away) throw new Error("away");
    };
    expect(await replica.commit(bought.txId)).toEqual(["pending"]);
    expect(await row(bought.txId)).toEqual({ state: "committed", debt: "capture" });
    away = false;
    await until("acknowledged", async () => (await replica.commit(bought.txId))[0] === "done");
    expect(await row(bought.txId)).toEqual({ state: "committed", debt: null });
    expect(gateway.captures.get(bought.txId)).toBe(1);
  });

  test("that crashes between the capture and its record is captured once, by key, after the restart", async () => {
    const first = await open();
    const bought = entry("tok_ok");
    await first.vote(bought);
    first.db.around = (run, name) =>
      name === "settle-committed" ? Promise.reject(new Error("killed")) : run();
    expect(await first.commit(bought.txId)).toEqual(["pending"]);
    expect(gateway.cards.get(bought.txId)).toBe("captured");
    await first.stop();
    replicas = [];
    expect(await row(bought.txId)).toEqual({ state: "prepared", debt: null });
    const second = await open();
    expect(await second.commit(bought.txId)).toEqual(["done"]);
    expect(await row(bought.txId)).toEqual({ state: "committed", debt: null });
    expect(gateway.captures.get(bought.txId)).toBe(1);
  });

  test("or abort that is repeated asks nothing of the gateway: there is no debt any more", async () => {
    const replica = await open();
    const [bought, refused] = [entry("tok_ok"), entry("tok_declined")];
    await replica.votes([bought, refused]);
    await until("acknowledged", async () => (await replica.commit(bought.txId))[0] === "done");
    await replica.abort(refused.txId);
    const calls = gateway.calls.length;
    gateway.beforeCapture = gateway.beforeVoid = () => {
      throw new Error("away");
    };
    expect(await replica.commit(bought.txId)).toEqual(["done"]);
    expect(await replica.abort(refused.txId)).toEqual(["done"]);
    expect({ calls: gateway.calls.length, alarms }).toEqual({ calls, alarms: [] });
  });
});

describe("a crash between the gateway's answer and its record", () => {
  test("is repaired by the duplicate prepare: one authorization by key", async () => {
    const first = await open();
    first.db.around = (run, name) =>
      name === "record-answers" ? Promise.reject(new Error("killed")) : run();
    const lost = entry("tok_ok");
    expect(await first.vote(lost)).toMatchObject({ kind: "error" });
    expect(gateway.cards.get(lost.txId)).toBe("held");
    const second = await open();
    expect(await second.vote(lost)).toEqual(YES);
    expect(gateway.holds.get(lost.txId)).toBe(1);
  });

  test("is ended by inquiry where nobody asks again: aborted and voided", async () => {
    const first = await open();
    first.db.around = (run, name) =>
      name === "record-answers" ? Promise.reject(new Error("killed")) : run();
    const lost = entry("tok_ok");
    await first.vote(lost);
    const second = await open();
    second.outcome = () => "abort";
    await until("it is voided", async () => gateway.cards.get(lost.txId) === "voided");
    await until("the debt is paid", async () => (await row(lost.txId))?.debt === null);
    expect(await row(lost.txId)).toEqual({ state: "aborted", debt: null });
  });
});
