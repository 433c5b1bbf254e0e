/** Payment under the garbage rule: the common suite, and what is in doubt with a card gateway behind it. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { newId } from "../../lib/ids.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { ScriptedGateway } from "../support/card-gateway.ts";
import { entryOf, openReplica, type Replica } from "../support/replica.ts";
import { gate, until } from "../support/until.ts";
import { describeGarbage } from "./conformance.garbage.ts";
import { payment, paymentFactory, paymentRequest } from "./payment.subject.ts";

describe("payment as a participant", () => describeGarbage(payment));

describe("payment's seal is not raised over", () => {
  let databases: TestDatabases;
  let replica: Replica;
  const gateway = new ScriptedGateway();
  beforeAll(async () => {
    databases = await cloneDatabases(["payment"]);
    replica = await openReplica(databases.urlOf("payment"), paymentFactory(gateway));
  });
  afterEach(() => {
    gateway.beforeCapture = gateway.beforeVoid = () => undefined;
  });
  afterAll(async () => {
    await replica.stop();
    await databases.drop();
  });

  test("a card that is still being asked", async () => {
    const answer = gate();
    gateway.scripts.set("tok_slow", async ({ key }) => {
      await answer.promise;
      return gateway.approve(key);
    });
    const slow = entryOf(paymentRequest("tok_slow"));
    expect(await replica.prepare([slow])).toEqual([{ kind: "pending" }]);
    const upTo = newId();
    expect((await replica.raiseSeal(upTo)) < slow.txId).toBe(true);
    answer.open();
    expect(await replica.vote(slow)).toEqual({ kind: "yes" });
    expect((await replica.raiseSeal(upTo)) < slow.txId).toBe(true);
    await until("it is captured", async () => (await replica.commit(slow.txId))[0] === "done");
    expect(await replica.raiseSeal(upTo)).toBe(upTo);
  });

  test("money that is still to be captured", async () => {
    gateway.beforeCapture = () => Promise.reject(new Error("the bank is closed"));
    const sold = entryOf(paymentRequest());
    await replica.vote(sold);
    expect(await replica.commit(sold.txId)).toEqual(["pending"]);
    const upTo = newId();
    expect((await replica.raiseSeal(upTo)) < sold.txId).toBe(true);
    gateway.beforeCapture = () => undefined;
    await until("the debt is paid", async () => (await replica.raiseSeal(upTo)) === upTo);
    expect(gateway.captures.get(sold.txId)).toBe(1);
  });

  test("money that is still to be given back", async () => {
    gateway.beforeVoid = () => Promise.reject(new Error("the bank is closed"));
    const gone = entryOf(paymentRequest());
    await replica.vote(gone);
    expect(await replica.abort(gone.txId)).toEqual(["done"]);
    const upTo = newId();
    expect((await replica.raiseSeal(upTo)) < gone.txId).toBe(true);
    gateway.beforeVoid = () => undefined;
    await until("the debt is paid", async () => (await replica.raiseSeal(upTo)) === upTo);
    expect(gateway.cards.get(gone.txId)).toBe("voided");
  });
});
