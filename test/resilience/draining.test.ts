/** A node that stops: what it has begun is finished, and what it would refuse is not sent to it. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { type Context, Errors, ServiceBroker, type ServiceSchema } from "moleculer";
import shopOptions from "../../moleculer.config.ts";
import { ShopBroker } from "../../scripts/shop.ts";
import { gate, until } from "../support/until.ts";
import { KINDS, type Kind, Nodes } from "./nodes.ts";

let nodes: Nodes | undefined;
afterEach(async () => {
  await nodes?.stop();
  nodes = undefined;
});

describe("a call under way when its node stops", () => {
  test.each(KINDS)("is answered, and runs once: %s", async (kind) => {
    nodes = new Nodes(kind);
    let runs = 0;
    const door = gate();
    const slow: ServiceSchema = {
      name: "slow",
      actions: {
        async ask() {
          runs++;
          if (runs === 1) await door.promise;
          return "ok";
        },
      },
    };
    const waiting = kind === "shop" ? { tracking: { enabled: true, shutdownTimeout: 5_000 } } : {};
    const caller = await nodes.open("caller", [], waiting);
    const callee = await nodes.open("callee", [slow], waiting);
    const answer = caller.call("slow.ask").then(
      () => "ok",
      (err: Errors.MoleculerError) => err.type,
    );
    await until("it has begun", () => runs === 1);
    const stopped = callee.stop();
    if (kind === "framework") {
      // It is told that its call was rejected while that call still runs; its retries would run it once more.
      await stopped;
      door.open();
      expect(await answer).not.toBe("ok");
    } else {
      door.open();
      expect(await answer).toBe("ok");
      await stopped;
      expect(runs).toBe(1);
    }
  });
});

/** An order that is being placed asks its manager only after the stop has begun. */
async function placeDuringStop(kind: Kind): Promise<string> {
  const Broker = kind === "shop" ? ShopBroker : ServiceBroker;
  const broker = new Broker({
    ...shopOptions,
    logger: false,
    namespace: `test-${Math.random().toString(36).slice(2)}`,
    transporter: "Fake",
    registry: { stopDelay: 0 },
  });
  const priced = gate();
  let isPlacing = false;
  let isClosed = false;
  const close = async () => {
    isClosed = true;
  };
  broker.createService({
    name: "order",
    actions: {
      async place(ctx: Context) {
        isPlacing = true;
        await priced.promise;
        return ctx.call("transaction-manager.run");
      },
    },
  });
  broker.createService({
    name: "transaction-manager",
    actions: {
      run() {
        if (isClosed) throw new Errors.MoleculerError("the mailboxes are closed", 503, "unavailable");
        return "committed";
      },
    },
    methods: { drain: close },
    stopped: close,
  } as ServiceSchema);
  await broker.start();
  const answer = broker.call<string>("order.place").catch((err) => err.type as string);
  await until("it is being placed", () => isPlacing);
  const stopped = broker.stop();
  if (kind === "framework") await until("the manager is closed", () => isClosed);
  priced.open();
  const outcome = await answer;
  await stopped;
  expect(isClosed).toBe(true);
  return outcome;
}

describe("an order that is being placed when its node stops", () => {
  test.each(KINDS)("finds its manager open: %s", async (kind) => {
    expect(await placeDuringStop(kind)).toBe(kind === "framework" ? "unavailable" : "committed");
  });
});

describe("a shop's node that stops", () => {
  test("is taken out of the others' registries while it still answers", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", []);
    const leaving = new ShopBroker({
      ...shopOptions,
      logger: false,
      namespace: nodes.namespace,
      nodeID: "leaving",
      transporter: "Fake",
    });
    leaving.createService({ name: "thing", actions: { ask: () => "ok" } });
    await leaving.start();
    await nodes.settle();
    expect(await caller.call("thing.ask")).toBe("ok");
    const stopped = leaving.stop();
    await until("it is out", () => !caller.registry.hasService("thing", "leaving"), 1_000);
    expect(await leaving.call("thing.ask")).toBe("ok");
    await stopped;
  });

  test.each(KINDS)("comes back into them at once, not after a second: %s", async (kind) => {
    nodes = new Nodes(kind);
    const caller = await nodes.open("caller", []);
    await nodes.open("callee", [{ name: "thing", actions: { ask: () => "ok" } }], {
      transit: kind === "shop" ? shopOptions.transit : ({} as never),
    });
    const startedAt = performance.now();
    await until("it is seen", () => caller.registry.hasService("thing", "callee"), 5_000);
    const tookMs = performance.now() - startedAt;
    if (kind === "framework") expect(tookMs).toBeGreaterThan(600);
    else expect(tookMs).toBeLessThan(900);
  });
});
