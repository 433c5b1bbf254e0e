/** Circuit breakers: each scenario goes wrong with the framework's and does not with ours. */
import { afterEach, describe, expect, test } from "@jest/globals";
import type { BrokerOptions, ServiceBroker, ServiceSchema } from "moleculer";
import { until } from "../support/until.ts";
import { errorOf, KINDS, type Kind, Nodes, outcomesOf } from "./nodes.ts";

let nodes: Nodes;
afterEach(() => nodes.stop());

const never = (): Promise<never> => new Promise(() => undefined);
const OPEN = "SERVICE_NOT_AVAILABLE";
/** Nothing is repeated in these, so that the counts are those of the breakers. */
const ONCE: Partial<BrokerOptions> = { retryPolicy: { enabled: false } as never };

/** A service whose only action does what `answer` says now. */
function thing(answer: { now: () => unknown }, hits: { count: number }): ServiceSchema {
  return {
    name: "thing",
    actions: {
      ask() {
        hits.count++;
        return answer.now();
      },
    },
  };
}

async function local(kind: Kind, answer: { now: () => unknown }, hits: { count: number }, options = {}) {
  nodes = new Nodes(kind);
  return nodes.open("one", [thing(answer, hits)], { ...ONCE, transporter: null, ...options });
}

describe("an action that never answers", () => {
  test.each(KINDS)("opens the breaker of its own node: %s", async (kind) => {
    const hits = { count: 0 };
    const broker = await local(kind, { now: never }, hits, { requestTimeout: 20 });
    const outcomes = await outcomesOf(12, () => broker.call("thing.ask"));
    if (kind === "framework") expect(outcomes).toEqual({ REQUEST_TIMEOUT: 12 });
    else expect(outcomes).toEqual({ REQUEST_TIMEOUT: 3, [OPEN]: 9 });
  });

  test.each(KINDS)("opens the breaker for another node after three time-outs, not five: %s", async (kind) => {
    const hits = { count: 0 };
    nodes = new Nodes(kind);
    const caller = await nodes.open("caller", [], { ...ONCE, requestTimeout: 20 });
    await nodes.open("callee", [thing({ now: never }, hits)], { requestTimeout: 20 });
    const outcomes = await outcomesOf(12, () => caller.call("thing.ask"));
    expect(outcomes).toEqual(
      kind === "framework" ? { REQUEST_TIMEOUT: 5, [OPEN]: 7 } : { REQUEST_TIMEOUT: 3, [OPEN]: 9 },
    );
  });
});

describe("a node whose own breaker leaves its own action out", () => {
  test.each(KINDS)("carries out what another node sends it: that one's breakers decide: %s", async (kind) => {
    const hits = { count: 0 };
    const failing = () => {
      throw errorOf({ code: 500 });
    };
    const answer: { now: () => unknown } = { now: failing };
    nodes = new Nodes(kind);
    const caller = await nodes.open("caller", [], ONCE);
    const callee = await nodes.open("callee", [thing(answer, hits)], ONCE);
    await outcomesOf(6, () => callee.call("thing.ask"));
    expect(await outcomesOf(1, () => callee.call("thing.ask"))).toEqual({ [OPEN]: 1 });
    answer.now = () => "fine";
    const outcomes = await outcomesOf(1, () => caller.call("thing.ask"));
    expect(outcomes).toEqual(kind === "framework" ? { [OPEN]: 1 } : { ok: 1 });
  });
});

describe("what counts as a failure", () => {
  test.each([
    // A bug opens it, and a string of PostgreSQL's that happens to be a number above 500 does not.
    ["a bug without a code", errorOf({}), { framework: false, shop: true }],
    ["a taken key (23505)", errorOf({ code: "23505" }), { framework: true, shop: false }],
    ["a client's mistake", errorOf({ code: 422 }), { framework: false, shop: false }],
    ["a server's error", errorOf({ code: 500 }), { framework: true, shop: true }],
    [
      "a refusal for want of room",
      errorOf({ code: 503, type: "overloaded" }),
      { framework: true, shop: false },
    ],
    [
      "a provider that is down",
      errorOf({ code: 503, type: "payment_unavailable" }),
      { framework: true, shop: false },
    ],
  ] as const)("%s", async (_, err, opens) => {
    for (const kind of KINDS) {
      const throwing = () => {
        throw err;
      };
      const broker = await local(kind, { now: throwing }, { count: 0 });
      const outcomes = await outcomesOf(10, () => broker.call("thing.ask"));
      expect({ kind, opens: (outcomes[OPEN] ?? 0) > 0 }).toEqual({ kind, opens: opens[kind] });
      await nodes.stop();
    }
  });

  test.each(KINDS)("is counted where it happened, not again by those it passes: %s", async (kind) => {
    nodes = new Nodes(kind);
    const inner: ServiceSchema = {
      name: "inner",
      actions: {
        fail() {
          throw errorOf({ code: 500 });
        },
      },
    };
    const outer: ServiceSchema = {
      name: "outer",
      actions: {
        // Half of what it does needs the other one.
        ask: (ctx) => ((ctx.params as { i: number }).i % 2 ? ctx.call("inner.fail") : "ok"),
      },
    };
    const broker = await nodes.open("one", [inner, outer], { ...ONCE, transporter: null });
    const outcomes = await outcomesOf(40, (i) => broker.call("outer.ask", { i }));
    // With the framework's, what needs nothing from it is refused as well.
    if (kind === "framework") expect(outcomes.ok).toBeLessThan(20);
    else expect(outcomes.ok).toBe(20);
  });
});

describe("an action that is always answered in time, unless its node is too slow", () => {
  test("has a breaker that only time-outs open, at callers on other nodes, too", async () => {
    nodes = new Nodes("shop");
    const answer: { now: () => unknown } = {
      now: () => {
        throw errorOf({ code: 503, type: "unavailable" });
      },
    };
    const ask = { handler: () => answer.now(), answersInTime: true as const, timeout: 20 };
    const caller = await nodes.open("caller", [], { ...ONCE, requestTimeout: 20 });
    await nodes.open("callee", [{ name: "thing", actions: { ask } }], { requestTimeout: 20 });
    expect(await outcomesOf(12, () => caller.call("thing.ask"))).toEqual({ unavailable: 12 });
    answer.now = never;
    // What a client has no time for says nothing.
    const hasty = () => caller.call("thing.ask", {}, { timeout: 5 });
    expect(await outcomesOf(12, hasty)).toEqual({ REQUEST_TIMEOUT: 12 });
    expect(await outcomesOf(12, () => caller.call("thing.ask"))).toEqual({ REQUEST_TIMEOUT: 3, [OPEN]: 9 });
  });

  test("is what order.place is", async () => {
    const { default: order } = await import("../../services/order/order.service.ts");
    expect(order.actions?.place).toMatchObject({ answersInTime: true });
  });
});

describe("a caller that was asleep when its time was up", () => {
  test("blames nobody: the answers may have been there", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", [], { ...ONCE, requestTimeout: 50 });
    const callee = await nodes.open("callee", [thing({ now: never }, { count: 0 })], ONCE);
    // Its time is up at the same time, and it tells of it.
    Object.assign(callee.transit as object, { sendResponse: () => Promise.resolve() });
    const calls = Promise.allSettled(Array.from({ length: 12 }, () => caller.call("thing.ask")));
    await nodes.settle();
    const wakesAt = performance.now() + 400;
    while (performance.now() < wakesAt);
    await calls;
    expect(await outcomesOf(1, () => caller.call("thing.ask"))).toEqual({ REQUEST_TIMEOUT: 1 });
  });
});

describe("a node that waits in vain for a third one", () => {
  test("is not left out for it", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", [], ONCE);
    const middle: ServiceSchema = {
      name: "middle",
      actions: {
        ask: (ctx) =>
          (ctx.params as { i: number }).i < 6 ? ctx.call("silent.ask", {}, { timeout: 10 }) : "ok",
      },
    };
    await nodes.open("middle", [middle], ONCE);
    const silent: ServiceSchema = { name: "silent", actions: { ask: () => new Promise(() => undefined) } };
    const silentNode = await nodes.open("silent", [silent], ONCE);
    // As one that is paused: it does not even tell of its own deadline.
    Object.assign(silentNode.transit as object, { sendResponse: () => Promise.resolve() });
    await outcomesOf(6, (i) => caller.call("middle.ask", { i }));
    expect(await outcomesOf(1, () => caller.call("middle.ask", { i: 6 }))).toEqual({ ok: 1 });
  });
});

describe("a node that comes back under its old id", () => {
  test.each(KINDS)("has a breaker that works: %s", async (kind) => {
    nodes = new Nodes(kind);
    const hits = { count: 0 };
    const answer: { now: () => unknown } = { now: () => "ok" };
    const caller = await nodes.open("caller", [], ONCE);
    // The callee has none, which would refuse in its own right.
    const none = { ...ONCE, circuitBreaker: { enabled: false } as never };
    const first = await nodes.open("callee", [thing(answer, hits)], none);
    await caller.call("thing.ask");
    await first.stop();
    await nodes.open("callee", [thing(answer, hits)], none);
    answer.now = () => {
      throw errorOf({ code: 500 });
    };
    const outcomes = await outcomesOf(20, () => caller.call("thing.ask"));
    // The framework's says it is open, about an endpoint that is no longer there.
    expect(outcomes[OPEN] ?? 0).toBe(kind === "framework" ? 0 : 15);
  });
});

describe("the window", () => {
  test.each(KINDS)("ends also where only the action switched the breaker on: %s", async (kind) => {
    nodes = new Nodes(kind);
    let isFailing = false;
    const hits = { count: 0 };
    const service = thing(
      {
        now: () => {
          if (isFailing) throw errorOf({ code: 500 });
        },
      },
      hits,
    );
    const enabled = {
      enabled: true,
      windowTime: 0.05,
      minRequestCount: 5,
      threshold: 0.5,
      halfOpenTime: 10_000,
    };
    const ask = { handler: service.actions?.ask as never, circuitBreaker: enabled as never };
    const disabled = { enabled: false, windowTime: 0.05, check: (err: { code: number }) => err.code >= 500 };
    const broker = await nodes.open("one", [{ name: "thing", actions: { ask } }], {
      ...ONCE,
      transporter: null,
      circuitBreaker: disabled as never,
    });
    for (let i = 0; i < 100; i++) await broker.call("thing.ask");
    const startedAt = performance.now();
    await until("the window is over", () => performance.now() - startedAt > 60);
    isFailing = true;
    const outcomes = await outcomesOf(20, () => broker.call("thing.ask"));
    expect(outcomes[OPEN] ?? 0).toBe(kind === "framework" ? 0 : 15);
  });
});

describe("half open", () => {
  test.each(KINDS)("is over when the probe is answered, though with a refusal: %s", async (kind) => {
    const answer: { now: () => unknown } = { now: never };
    const broker = await local(
      kind,
      answer,
      { count: 0 },
      {
        requestTimeout: 20,
        circuitBreaker: {
          ...{ enabled: true, threshold: 0.5, minRequestCount: 3, windowTime: 60, timeoutsMax: 3 },
          ...{ halfOpenTime: 50, check: (err: { code: number }) => err.code >= 500 },
        } as never,
      },
    );
    answer.now = () => {
      throw errorOf({ code: 500 });
    };
    await outcomesOf(3, () => broker.call("thing.ask"));
    answer.now = () => {
      throw errorOf({ code: 422, type: "refused" });
    };
    await until("a probe is let through", () =>
      broker.call("thing.ask").then(
        () => true,
        (err) => err.type === "refused",
      ),
    );
    // A node that answers is well: the next call must not be refused while somebody waits for a better answer.
    const outcomes = await outcomesOf(1, () => broker.call("thing.ask"));
    expect(outcomes).toEqual(kind === "framework" ? { [OPEN]: 1 } : { refused: 1 });
  });
});

describe("the states of breakers", () => {
  test("can be read, by node and action", async () => {
    const answer: { now: () => unknown } = { now: () => "ok" };
    const broker: ServiceBroker = await local("shop", answer, { count: 0 });
    await broker.call("thing.ask");
    const heard: unknown[] = [];
    broker.localBus.on("$circuit-breaker.opened", (detail: unknown) => heard.push(detail));
    expect(broker.breakers?.()).toEqual([
      { nodeID: "one", action: "thing.ask", state: "closed", calls: 1, failures: 0 },
    ]);
    answer.now = () => {
      throw errorOf({ code: 500 });
    };
    await outcomesOf(9, () => broker.call("thing.ask"));
    expect(broker.breakers?.()).toMatchObject([{ action: "thing.ask", state: "open" }]);
    expect(heard).toMatchObject([{ nodeID: "one", action: "thing.ask" }]);
  });
});
