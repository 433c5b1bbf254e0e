/**
 * A replica of product is stopped (SIGSTOP) inside its batch, with rows locked in an open transaction. That delays the
 * transactions that were sent to it and those that want the same rows, and no longer than the time-outs; awake again, it
 * finds its transaction gone and votes nothing from memory.
 */
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { type Answer, Fleet, type Purchase } from "./fleet/fleet.ts";
import { describeFleet } from "./fleet/lanes.ts";
import type { ShopNode } from "./fleet/node.ts";

/** The longest time-out on the way, of a price that was asked of the stopped replica, and a busy machine. */
const ANSWERED_MS = 11_000;
/** The server frees the locks of an idle transaction after 5 s. */
const FREED_MS = 8_000;
const QUICK_MS = 2_000;
/** Between two orders that are placed: longer than a batch takes to be made up and sent. */
const APART_MS = 50;

describeFleet("a replica of product", () => {
  let nats: Server;
  let fleet: Fleet;
  let shop: ShopNode;
  let paused: ShopNode;
  beforeAll(async () => {
    nats = await startNats();
    const nodes = {
      shop: ["order", "payment", "notification", "transaction-manager"],
      paused: ["product"],
      awake: ["product"],
    } as const;
    fleet = await Fleet.start({ nodes, nats });
    [shop, paused] = [fleet.node("shop"), fleet.node("paused")];
  }, 120_000);
  afterAll(async () => {
    await fleet?.stop();
    await nats?.stop();
  });

  async function timed(purchase: Purchase): Promise<{ answer: Answer; ms: number }> {
    const startedAt = performance.now();
    return { answer: await fleet.buy(shop, purchase), ms: performance.now() - startedAt };
  }

  test("stopped with locks held: its own transactions time out, the rows are freed, and all others go on", async () => {
    const [held, free] = [await fleet.addProduct(shop, 1), await fleet.addProduct(shop)];
    await paused.arm({ point: "vote + commit", when: "before", deed: "stop" });
    // Scarce, so that they are judged one by one inside a transaction. Replicas take turns by batch: one order after the
    // other makes several, until the one that will stop was asked.
    const early: Promise<{ answer: Answer; ms: number }>[] = [];
    while (paused.hits.length === 0 && early.length < 40) {
      early.push(timed({ productId: held, quantity: 2 }));
      await Promise.race([early.at(-1), pause(APART_MS)]);
    }
    const others: { answer: Answer; ms: number }[] = [];
    for (let n = 0; n < 6; n++) others.push(await timed({ productId: free }));
    expect(others.filter(({ answer, ms }) => answer.status === 201 && ms < QUICK_MS).length).toBeGreaterThan(
      1,
    );
    const startedAt = performance.now();
    const waiting = await fleet.insist(shop, { productId: held, quantity: 1, card: "tok_ok", key: "after" });
    expect(waiting).toMatchObject({ status: 201 });
    expect(performance.now() - startedAt).toBeLessThan(FREED_MS);
    for (const { ms } of [...others, ...(await Promise.all(early))]) expect(ms).toBeLessThan(ANSWERED_MS);

    await paused.wake();
    await fleet.settled();
    await fleet.keysHold(
      shop,
      [...others, ...(await Promise.all(early))].map(({ answer }) => answer),
    );
    await fleet.settled();
  }, 60_000);
});
