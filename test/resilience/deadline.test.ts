/** Time limits and bulkheads: each scenario goes wrong with the framework's and does not with ours. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { type Context, ServiceBroker } from "moleculer";
import { remainingMs, signalOf } from "../../mixins/deadline.middleware.ts";
import shopOptions from "../../moleculer.config.ts";
import { gate, until } from "../support/until.ts";
import { KINDS, Nodes } from "./nodes.ts";

let nodes: Nodes | undefined;
afterEach(async () => {
  await nodes?.stop();
  nodes = undefined;
});

test("a call without a time limit has none with the framework, and ten seconds here", () => {
  expect(new ServiceBroker({ logger: false }).options.requestTimeout).toBe(0);
  expect(new ServiceBroker({ ...shopOptions, logger: false }).options.requestTimeout).toBe(10_000);
});

describe("a call whose answer is lost on the way", () => {
  const tracked = (broker: ServiceBroker) =>
    (broker as unknown as { _trackedContexts: unknown[] })._trackedContexts.length;

  test.each(KINDS)("is over once it is given up: no stop waits for it: %s", async (kind) => {
    nodes = new Nodes(kind);
    const caller = await nodes.open("caller", [], {
      retryPolicy: { enabled: false } as never,
      tracking: { enabled: true, shutdownTimeout: 50 },
    });
    const callee = await nodes.open("callee", [{ name: "thing", actions: { ask: () => "fine" } }]);
    Object.assign(callee.transit as object, { sendResponse: () => Promise.resolve() });
    const call = caller.call("thing.ask", {}, { timeout: 20 });
    expect(tracked(caller)).toBe(1);
    await expect(call).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
    await nodes.settle();
    expect(tracked(caller)).toBe(kind === "framework" ? 1 : 0);
    expect(
      (caller.transit as unknown as { pendingRequests: Map<string, unknown> }).pendingRequests.size,
    ).toBe(0);
  });
});

describe("work that waits behind a bulkhead", () => {
  test.each(KINDS)("is not begun once its caller is gone: %s", async (kind) => {
    nodes = new Nodes(kind);
    const doors = Array.from({ length: 4 }, () => gate());
    let begun = 0;
    const broker = await nodes.open(
      "one",
      [
        {
          name: "thing",
          actions: {
            ask: {
              bulkhead: { enabled: true, concurrency: 1, maxQueueSize: 10 },
              handler: () => doors[begun++]?.promise,
            },
          },
        },
      ],
      { transporter: null, retryPolicy: { enabled: false } as never },
    );
    const calls = doors.map((_, i) =>
      broker.call("thing.ask", {}, { timeout: i === 0 ? 5_000 : 30 }).then(
        () => "ok",
        (err) => err.type,
      ),
    );
    // Those that waited have heard that their time is up; the place they waited for comes free only now.
    expect(await Promise.all(calls.slice(1))).toEqual(Array(3).fill("REQUEST_TIMEOUT"));
    for (const door of doors) door.open();
    expect(await calls[0]).toBe("ok");
    if (kind === "framework") await until("all have run for nobody", () => begun === 4);
    else expect(begun).toBe(1);
  });

  test.each(KINDS)(
    "is refused where too much of it waits, as the shop's fault and not the client's: %s",
    async (kind) => {
      nodes = new Nodes(kind);
      const door = gate();
      const broker = await nodes.open(
        "one",
        [
          {
            name: "thing",
            actions: {
              ask: {
                bulkhead: { enabled: true, concurrency: 1, maxQueueSize: 1 },
                handler: () => door.promise,
              },
            },
          },
        ],
        { transporter: null, retryPolicy: { enabled: false } as never },
      );
      const held = [broker.call("thing.ask"), broker.call("thing.ask")];
      await expect(broker.call("thing.ask")).rejects.toMatchObject(
        kind === "framework"
          ? { type: "QUEUE_FULL", code: 429 }
          : { type: "overloaded", code: 503, data: { retryAfter: 1 } },
      );
      door.open();
      await Promise.all(held);
    },
  );

  test("that has expired makes room for what has not", async () => {
    nodes = new Nodes("shop");
    const door = gate();
    const broker = await nodes.open(
      "one",
      [
        {
          name: "thing",
          actions: {
            ask: {
              bulkhead: { enabled: true, concurrency: 1, maxQueueSize: 1 },
              handler: () => door.promise,
            },
          },
        },
      ],
      { transporter: null },
    );
    const first = broker.call("thing.ask");
    await expect(broker.call("thing.ask", {}, { timeout: 20 })).rejects.toMatchObject({
      type: "REQUEST_TIMEOUT",
    });
    const second = broker.call("thing.ask");
    door.open();
    await Promise.all([first, second]);
  });
});

describe("a deadline", () => {
  test("reaches the leaf: as a budget that shrinks, and as a signal when it has passed", async () => {
    nodes = new Nodes("shop");
    const seen: { budgets: number[]; aborted: boolean } = { budgets: [], aborted: false };
    const caller = await nodes.open("caller", []);
    await nodes.open("callee", [
      {
        name: "outer",
        actions: {
          async ask(ctx: Context) {
            seen.budgets.push(remainingMs(ctx));
            await until("some of it is used", () => remainingMs(ctx) < 380);
            return ctx.call("leaf.ask");
          },
        },
      },
      {
        name: "leaf",
        actions: {
          ask(ctx: Context) {
            seen.budgets.push(remainingMs(ctx));
            return new Promise((_, reject) => {
              signalOf(ctx).addEventListener("abort", () => {
                seen.aborted = true;
                reject(signalOf(ctx).reason);
              });
            });
          },
        },
      },
    ]);
    await expect(caller.call("outer.ask", {}, { timeout: 400 })).rejects.toMatchObject({
      type: "REQUEST_TIMEOUT",
    });
    await until("the leaf has heard of it", () => seen.aborted);
    const [outer = 0, leaf = 0] = seen.budgets;
    expect(outer).toBeLessThanOrEqual(400);
    expect(leaf).toBeLessThan(380);
    expect(leaf).toBeGreaterThan(0);
  });

  test("that has passed already is a signal that has been given", async () => {
    nodes = new Nodes("shop");
    const door = gate();
    const late = gate<boolean>();
    const broker = await nodes.open(
      "one",
      [
        {
          name: "thing",
          actions: {
            async ask(ctx: Context) {
              await door.promise;
              late.open(signalOf(ctx).aborted);
            },
          },
        },
      ],
      { transporter: null },
    );
    await expect(broker.call("thing.ask", {}, { timeout: 10 })).rejects.toMatchObject({ code: 504 });
    door.open();
    expect(await late.promise).toBe(true);
  });

  test("does not end what has none", async () => {
    nodes = new Nodes("shop");
    let budget = 0;
    const broker = await nodes.open(
      "one",
      [
        {
          name: "thing",
          actions: {
            ask: {
              timeout: 0,
              handler(ctx: Context) {
                budget = remainingMs(ctx);
              },
            },
          },
        },
      ],
      { transporter: null },
    );
    await broker.call("thing.ask");
    expect(budget).toBe(Number.POSITIVE_INFINITY);
  });
});
