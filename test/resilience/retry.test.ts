/** Repeats: each scenario goes wrong with the framework's retries and does not with ours. */
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { type Context, Errors, type ServiceSchema } from "moleculer";
import { ShopError } from "../../lib/errors.ts";
import { until } from "../support/until.ts";
import { KINDS, Nodes, outcomesOf } from "./nodes.ts";

let nodes: Nodes;
afterEach(() => nodes.stop());

const down = () => new Errors.MoleculerRetryableError("the database is down", 503, "unavailable", {});
const counting = (hits: { count: number }, answer: () => unknown) => () => {
  hits.count++;
  return answer();
};
const fail = (): never => {
  throw down();
};
/** Without breakers, which would end a storm before it is one. */
const NO_BREAKER = { circuitBreaker: { enabled: false } as never };

describe("one call over two hops whose end is down", () => {
  test.each(KINDS)("reaches the end 16 times or 3: %s", async (kind) => {
    nodes = new Nodes(kind);
    const hits = { count: 0 };
    const caller = await nodes.open("caller", [], NO_BREAKER);
    const middle: ServiceSchema = {
      name: "middle",
      actions: { ask: { idempotent: true, handler: (ctx: Context) => ctx.call("leaf.ask") } },
    };
    const leaf: ServiceSchema = {
      name: "leaf",
      actions: { ask: { idempotent: true, handler: counting(hits, fail) } },
    };
    await nodes.open("middle", [middle], NO_BREAKER);
    await nodes.open("leaf", [leaf], NO_BREAKER);
    await expect(caller.call("middle.ask")).rejects.toMatchObject({ type: "unavailable" });
    expect(hits.count).toBe(kind === "framework" ? 16 : 3);
  });
});

describe("a thousand calls of a service that is down", () => {
  test.each(KINDS)("are at most a fifth more for it: %s", async (kind) => {
    nodes = new Nodes(kind);
    const hits = { count: 0 };
    const caller = await nodes.open("caller", [], NO_BREAKER);
    const leaf: ServiceSchema = {
      name: "leaf",
      actions: { ask: { idempotent: true, handler: counting(hits, fail) } },
    };
    await nodes.open("leaf", [leaf], NO_BREAKER);
    await Promise.all(Array.from({ length: 1_000 }, () => caller.call("leaf.ask").catch(() => undefined)));
    if (kind === "framework") expect(hits.count).toBe(4_000);
    else {
      expect(hits.count).toBeGreaterThan(1_000);
      expect(hits.count).toBeLessThanOrEqual(1_200);
    }
  });
});

describe("an action that may not run twice", () => {
  test.each(KINDS)("runs once where its answer comes too late: %s", async (kind) => {
    nodes = new Nodes(kind);
    const hits = { count: 0 };
    const caller = await nodes.open("caller", [], { ...NO_BREAKER, requestTimeout: 30 });
    const pay: ServiceSchema = {
      name: "pay",
      actions: { charge: counting(hits, () => new Promise(() => undefined)) },
    };
    await nodes.open("pay", [pay], { requestTimeout: 30 });
    await expect(caller.call("pay.charge")).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
    expect(hits.count).toBe(kind === "framework" ? 4 : 1);
  });

  test("runs once where it fails in passing, too, and where it was refused for want of room", async () => {
    nodes = new Nodes("shop");
    const hits = { count: 0 };
    const full = () => {
      throw new ShopError("overloaded", "no room");
    };
    const broker = await nodes.open("one", [
      {
        name: "thing",
        actions: { once: counting(hits, fail), full: { idempotent: true, handler: counting(hits, full) } },
      },
    ]);
    await expect(broker.call("thing.once")).rejects.toMatchObject({ type: "unavailable" });
    expect(hits.count).toBe(1);
    await expect(broker.call("thing.full")).rejects.toMatchObject({ type: "overloaded" });
    expect(hits.count).toBe(2);
  });
});

describe("the caller's deadline", () => {
  test.each(KINDS)("is the end of all tries together: %s", async (kind) => {
    nodes = new Nodes(kind);
    const hits = { count: 0 };
    const caller = await nodes.open("caller", [], NO_BREAKER);
    const mute: ServiceSchema = {
      name: "mute",
      actions: { ask: { idempotent: true, handler: counting(hits, () => new Promise(() => undefined)) } },
    };
    await nodes.open("mute", [mute]);
    const startedAt = performance.now();
    await expect(caller.call("mute.ask", {}, { timeout: 300 })).rejects.toMatchObject({
      type: "REQUEST_TIMEOUT",
    });
    const tookMs = performance.now() - startedAt;
    // The framework's tries get all of the time again, each.
    if (kind === "framework") expect(tookMs).toBeGreaterThan(1_100);
    else {
      expect(tookMs).toBeLessThan(600);
      expect(hits.count).toBeGreaterThan(1);
    }
  });

  test("ends a call whose process was busy while it paused, instead of sending it without a limit", async () => {
    nodes = new Nodes("shop");
    // The first try ends after 100 ms, the pause after 145; the process has no time for it until 400.
    const random = jest.spyOn(Math, "random").mockReturnValue(0.9);
    try {
      const caller = await nodes.open("caller", [], NO_BREAKER);
      const mute: ServiceSchema = {
        name: "mute",
        actions: { ask: { idempotent: true, handler: () => new Promise(() => undefined) } },
      };
      await nodes.open("mute", [mute]);
      const call = caller.call("mute.ask", {}, { timeout: 300 });
      setTimeout(() => {
        for (const until = performance.now() + 280; performance.now() < until; );
      }, 120);
      await expect(call).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
    } finally {
      random.mockRestore();
    }
  });

  test("leaves time for another node where one answers nothing", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", [], NO_BREAKER);
    const action = (answer: () => unknown): ServiceSchema => ({
      name: "thing",
      actions: { ask: { idempotent: true, handler: answer } },
    });
    await nodes.open("mute", [action(() => new Promise(() => undefined))]);
    await nodes.open("well", [action(() => "ok")]);
    expect(await outcomesOf(4, () => caller.call("thing.ask", {}, { timeout: 600 }))).toEqual({ ok: 4 });
  });
});

describe("a service that nobody hosts for a moment", () => {
  test.each(KINDS)("is waited for: %s", async (kind) => {
    nodes = new Nodes(kind);
    const thing: ServiceSchema = { name: "thing", actions: { ask: () => "ok" } };
    const caller = await nodes.open("caller", [], NO_BREAKER);
    const first = await nodes.open("callee", [thing]);
    await caller.call("thing.ask");
    await first.stop();
    // It is there already, so that its start takes none of the time that a call waits.
    const second = await nodes.open("callee", []);
    await nodes.settle();
    // "Not found" is retryable to the framework, and thrown before its retries.
    const answer = caller.call("thing.ask").then(
      () => "ok",
      (err) => err.type,
    );
    second.createService(thing);
    expect(await answer).toBe(kind === "framework" ? "SERVICE_NOT_AVAILABLE" : "ok");
  });

  test("is not waited for by what nobody may repeat, nor where it never was", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", []);
    const callee = await nodes.open("callee", [
      { name: "thing", actions: { place: { retry: false, handler: () => "ok" } } },
    ]);
    await caller.call("thing.place");
    await callee.stop();
    await nodes.settle();
    const startedAt = performance.now();
    for (const action of ["thing.place", "thing.never"])
      await expect(caller.call(action)).rejects.toMatchObject({ type: /SERVICE_NOT_FOUND/ });
    expect(performance.now() - startedAt).toBeLessThan(50);
  });

  test("is given up within about a second", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", []);
    const callee = await nodes.open("callee", [{ name: "thing", actions: { ask: () => "ok" } }]);
    await caller.call("thing.ask");
    await callee.stop();
    await nodes.settle();
    const startedAt = performance.now();
    await expect(caller.call("thing.ask")).rejects.toMatchObject({ type: /SERVICE_NOT_/ });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    // It is known to be away by now: the next ones hear it at once.
    await until("nobody waits any more", async () => {
      const calledAt = performance.now();
      await caller.call("thing.ask").catch(() => undefined);
      return performance.now() - calledAt < 20;
    });
    await nodes.open("callee", [{ name: "thing", actions: { ask: () => "ok" } }]);
    expect(await caller.call("thing.ask")).toBe("ok");
  });
});

describe("an open breaker", () => {
  test("is believed: nobody waits for it", async () => {
    nodes = new Nodes("shop");
    const hits = { count: 0 };
    const broker = await nodes.open("one", [
      { name: "thing", actions: { ask: { idempotent: true, handler: counting(hits, fail) } } },
    ]);
    await until("it is open", async () => {
      await broker.call("thing.ask").catch(() => undefined);
      return broker.breakers?.().some(({ state }) => state === "open");
    });
    const before = hits.count;
    const startedAt = performance.now();
    await expect(broker.call("thing.ask")).rejects.toMatchObject({ type: "SERVICE_NOT_AVAILABLE" });
    expect(performance.now() - startedAt).toBeLessThan(50);
    expect(hits.count).toBe(before);
  });
});

describe("a repeated call", () => {
  test("hands its meta to the caller, that of the try which succeeded", async () => {
    nodes = new Nodes("shop");
    let tries = 0;
    const leaf: ServiceSchema = {
      name: "leaf",
      actions: {
        ask: {
          idempotent: true,
          handler(ctx: Context<unknown, { tries?: number }>) {
            ctx.meta.tries = ++tries;
            if (tries === 1) throw down();
            return "ok";
          },
        },
      },
    };
    const outer: ServiceSchema = {
      name: "outer",
      actions: {
        async ask(ctx: Context<unknown, { tries?: number }>) {
          await ctx.call("leaf.ask");
          return ctx.meta.tries;
        },
      },
    };
    const broker = await nodes.open("one", [leaf, outer], { transporter: null });
    expect(await broker.call("outer.ask")).toBe(2);
  });
});
