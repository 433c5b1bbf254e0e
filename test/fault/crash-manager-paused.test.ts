/**
 * A manager is stopped (SIGSTOP) at its one INSERT while another manager decides, and wakes up: it follows what is
 * stored, whatever it was about to say. No lease and no clock protects this, only the write-once register.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { until } from "../support/until.ts";
import { Fleet } from "./fleet/fleet.ts";
import { describeFleet } from "./fleet/lanes.ts";
import type { ShopNode } from "./fleet/node.ts";

describeFleet("a manager", () => {
  let nats: Server;
  let fleet: Fleet;
  /** Drives the transactions, because order asks the manager of its own process. */
  let driver: ShopNode;
  /** Answers the participants, for the same reason. */
  let other: ShopNode;
  /** Where clients come in. */
  let edge: ShopNode;
  let productId: string;

  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats?.stop());
  beforeEach(async () => {
    const nodes = {
      driver: ["order", "transaction-manager"],
      other: ["order", "product", "payment", "transaction-manager"],
      edge: ["notification"],
    } as const;
    const env = { DECISION_RETENTION_HOURS: "0" };
    fleet = await Fleet.start({ nodes, nats, env: { driver: env, other: env } });
    [driver, other, edge] = [fleet.node("driver"), fleet.node("other"), fleet.node("edge")];
    productId = await fleet.addProduct(edge);
  }, 120_000);
  afterEach(() => fleet?.stop());

  async function stopped(node: ShopNode): Promise<string[]> {
    return until("the manager has stopped", () => node.hits.at(-1)?.txIds);
  }
  const decisions = () =>
    fleet.query<{ tx_id: string; outcome: string }>(
      "transaction-manager",
      "select tx_id, outcome from decisions",
    );

  test("stopped before its commit INSERT, another aborts, it wakes: it follows, and the client hears no 201", async () => {
    await driver.arm({ point: "decide", when: "before", deed: "stop" });
    const buying = fleet.buy(edge, { productId }, "driver");
    const txIds = await stopped(driver);
    await until("the other manager has decided", async () => (await decisions()).length > 0);
    expect(await decisions()).toEqual(txIds.map((tx_id) => ({ tx_id, outcome: "abort" })));

    await driver.wake();
    const answer = await buying;
    expect(answer.status).toBe(504);
    await fleet.settled();
    expect(await fleet.confirmedAmong(txIds)).toEqual([]);
    await fleet.keysHold(edge, [answer]);
    await fleet.settled();
  });

  test("stopped after its commit INSERT was sent: others learn the commit, and it says 201 when it wakes", async () => {
    await driver.arm({ point: "decide", when: "middle", deed: "stop" });
    const buying = fleet.buy(edge, { productId }, "driver");
    const txIds = await stopped(driver);
    await until("the others have committed", async () => {
      const rows = await fleet.query("product", "select 1 from reservations where state = 'committed'");
      return rows.length === txIds.length;
    });
    await driver.wake();
    const answer = await buying;
    expect(answer).toMatchObject({ status: 201, id: txIds[0] });
    await fleet.keysHold(edge, [answer]);
    await fleet.settled();
  });

  test("stopped before the abort INSERT of an inquiry, the driver commits, it wakes: it answers commit", async () => {
    await other.arm({ point: "decide", when: "before", deed: "stop" });
    await driver.arm({ point: "decide", when: "before", deed: "stop" });
    const buying = fleet.buy(edge, { productId }, "driver");
    const txIds = await stopped(driver);
    expect(await stopped(other)).toEqual(txIds);
    expect(await decisions()).toEqual([]);

    await driver.wake();
    const answer = await buying;
    expect([201, 504]).toContain(answer.status);
    await until("the driver has committed", async () => (await fleet.confirmedAmong(txIds)).length > 0);
    expect(await fleet.unfinished()).toMatchObject({ "payments in doubt": 1, "reservations prepared": 1 });
    await other.wake();
    await fleet.settled();
    expect(await decisions()).toEqual(txIds.map((tx_id) => ({ tx_id, outcome: "commit" })));
    await fleet.keysHold(edge, [answer]);
  });

  test("stopped before its commit INSERT, another aborts and prunes, it wakes: the outcome is forgotten, and no 201", async () => {
    await driver.arm({ point: "decide", when: "before", deed: "stop" });
    const buying = fleet.buy(edge, { productId }, "driver");
    const [txId = ""] = await stopped(driver);
    await until("it is aborted", async () => (await decisions()).length > 0);
    const watermark = async () => {
      await other.collect();
      return (await fleet.query<{ tx_id: string }>("transaction-manager", "select tx_id from watermark"))[0]
        ?.tx_id;
    };
    await until(
      "it is below the watermark, and gone",
      async () => (await watermark()) === txId && (await votesOf(txId)) === 0,
    );

    await driver.wake();
    const answer = await buying;
    expect(answer.status).toBe(504);
    await fleet.settled();
    expect([await decisions(), await votesOf(txId)]).toEqual([[], 0]);
    await fleet.keysHold(edge, [answer]);
    await fleet.settled();
  });

  /** Rows that are left of a transaction, in all the databases. */
  async function votesOf(txId: string): Promise<number> {
    const tables = [
      ["transaction-manager", "decisions where tx_id = $1"],
      ["product", "reservations where tx_id = $1"],
      ["payment", "payments where tx_id = $1"],
      ["order", "orders where id = $1"],
    ] as const;
    const rows = await Promise.all(
      tables.map(([name, from]) => fleet.query(name, `select 1 from ${from}`, [txId])),
    );
    return rows.flat().length;
  }
});
