/** The gateway under load, behind a limit, and in front of a service that is away. */
import { afterEach, describe, expect, test } from "@jest/globals";
import type { ServiceSchema } from "moleculer";
import { LoadShedder } from "../../../services/api/load-shedding.ts";
import { gate, until } from "../../support/until.ts";
import { type Reply, TestGateway } from "./gateway.ts";
import { expectProblem } from "./stand-ins.ts";

let gateway: TestGateway;
afterEach(() => gateway?.broker.stop());

async function start(services: ServiceSchema[], settings: Record<string, unknown> = {}): Promise<void> {
  gateway = new TestGateway(services, settings);
  await gateway.broker.start();
}

const thing = (handler: () => unknown, more: object = {}): ServiceSchema => ({
  name: "thing",
  settings: { rest: "/" } as never,
  actions: { get: { rest: "GET /things/:id", auth: "none", handler, ...more } },
});
const PATH = "/things/01900000-0000-7000-8000-000000000001";

describe("a gateway with more requests than it works on at once", () => {
  test("refuses the others at once, before it looks at them, but never a health check", async () => {
    const door = gate();
    let begun = 0;
    const slow = async () => {
      begun++;
      await door.promise;
      return { ok: true };
    };
    await start([thing(slow)], { inFlightMax: 2 });
    const held = [gateway.send(PATH), gateway.send(PATH)];
    await until("both are in", () => begun === 2);
    // While those two still wait. Neither the token nor the body is looked at: both are wrong.
    const refused = await Promise.all(
      Array.from({ length: 20 }, () =>
        gateway.send("/orders?x=1", { method: "POST", token: "nonsense", body: "{not json" }),
      ),
    );
    for (const reply of refused) {
      expectProblem(reply, 503, "overloaded");
      expect(reply.headers["retry-after"]).toBe("1");
      expect(reply.body.instance).toBe("/orders");
    }
    expect((await gateway.send("/health/live")).status).toBe(200);
    door.open();
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await gateway.send(PATH)).status).toBe(200);
  });
});

describe("the limit on requests in flight", () => {
  /** A loop that is `lateMs` late at each of so many looks, with so many requests in flight. */
  function shedderAfter(
    looks: { lateMs: number; times: number }[],
    inFlight: number,
    clock = { now: 0 },
  ): LoadShedder {
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    for (let i = 0; i < inFlight; i++) expect(shedder.enter("/orders")).toBe(true);
    for (const { lateMs, times } of looks)
      for (let i = 0; i < times; i++) {
        clock.now += 20 + lateMs;
        // One is answered at once and another comes in, so that nothing looks stuck.
        shedder.left(clock.now, true);
        expect(shedder.enter("/health/live")).toBe(true);
        shedder.sample();
      }
    return shedder;
  }

  test("shrinks while the event loop is late, from what is in flight, and not below 256", () => {
    expect(shedderAfter([{ lateMs: 300, times: 3 }], 800).limit).toBeLessThan(800);
    const shedder = shedderAfter([{ lateMs: 300, times: 50 }], 800);
    expect(shedder.limit).toBe(256);
    expect(shedder.enter("/orders")).toBe(false);
    expect(shedder.enter("/health/ready")).toBe(true);
    for (let i = 0; i < 546; i++) shedder.left(Number.NEGATIVE_INFINITY, true);
    expect(shedder.enter("/orders")).toBe(true);
  });

  test("stays where the loop is late for another reason, and grows back when it is quiet", () => {
    expect(shedderAfter([{ lateMs: 2_000, times: 50 }], 100).limit).toBe(1_000);
    expect(shedderAfter([{ lateMs: 0, times: 10 }], 900).limit).toBe(1_000);
    const clock = { now: 0 };
    const recovered = shedderAfter([{ lateMs: 300, times: 50 }], 800, clock);
    for (let i = 0; i < 700; i++) recovered.left(Number.NEGATIVE_INFINITY, true);
    for (const until = clock.now + 2_000; clock.now < until; clock.now += 20) recovered.sample();
    expect(recovered.limit).toBe(1_000);
  });
});

describe("the limit where answers are late", () => {
  /** A crowd that wants `capacity` answers per second at the most from what stands behind, for so many seconds. */
  function crowd(shedder: LoadShedder, clock: { now: number }, capacity: number, seconds: number) {
    const queue: number[] = [];
    const took: number[] = [];
    let due = 0;
    for (const until = clock.now + seconds * 1_000; clock.now < until; clock.now += 20) {
      // Twice as many as can be answered.
      for (let i = 0; i < (capacity / 50) * 2; i++) if (shedder.enter("/orders")) queue.push(clock.now);
      for (due += capacity / 50; due >= 1 && queue.length > 0; due--) {
        const enteredAt = queue.shift() as number;
        took.push(clock.now - enteredAt);
        shedder.left(enteredAt, true);
      }
      shedder.sample();
    }
    return { took, queue };
  }

  test.each([50, 200, 800])(
    "keeps the wait near a second at %d answers per second, and all of them are used",
    (capacity) => {
      const clock = { now: 0 };
      const shedder = new LoadShedder({ inFlightMax: 2_000, now: () => clock.now });
      const { took } = crowd(shedder, clock, capacity, 60);
      const settled = took.slice(took.length / 2);
      expect(settled.length).toBeGreaterThan(capacity * 60 * 0.45);
      expect(Math.max(...settled)).toBeLessThan(2_000);
    },
  );

  test("lets in no more than half a second's worth while there is a queue, and knows it before anybody is late for long", () => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 2_000, now: () => clock.now });
    const { took } = crowd(shedder, clock, 800, 10);
    expect(Math.max(...took)).toBeLessThan(2_000);
    expect(Math.max(...took.slice(took.length / 2))).toBeLessThan(750);
    expect(took.length).toBeGreaterThan(800 * 10 * 0.9);
  });

  test("does not hold a crowd back that comes all at once, nor answers that take long without a queue", () => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    for (let i = 0; i < 1_000; i++) expect(shedder.enter("/orders")).toBe(true);
    for (let i = 0; i < 900; i++) shedder.left(0, true);
    for (; clock.now < 5_000; clock.now += 20) {
      shedder.enter("/orders");
      shedder.left(clock.now - 900, true);
      shedder.sample();
    }
    expect(shedder.limit).toBe(1_000);
  });

  test.each([
    ["three of ten cards are slow", 10, 3],
    ["one of two replicas is silent", 8, 4],
  ])("lets all in where %s, however many wait for those", (_what, perTurn, slow) => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    const waiting: number[] = [];
    for (; clock.now < 20_000; clock.now += 20) {
      for (let i = 0; i < perTurn; i++) expect(shedder.enter("/orders")).toBe(true);
      for (let i = 0; i < slow; i++) waiting.push(clock.now);
      for (let i = slow; i < perTurn; i++) shedder.left(clock.now - 20, true);
      // They are 300 to 400 in flight.
      while ((waiting[0] as number) <= clock.now - 2_000) shedder.left(waiting.shift() as number, true);
      shedder.sample();
    }
    expect(waiting.length).toBeGreaterThanOrEqual(300);
    expect(shedder.limit).toBe(1_000);
  });

  test("shrinks where nothing is answered at all, and grows back when answers are quick", () => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    for (let i = 0; i < 500; i++) shedder.enter("/orders");
    for (; clock.now < 30_000; clock.now += 20) shedder.sample();
    expect(shedder.limit).toBe(32);
    for (let i = 0; i < 500; i++) shedder.left(0, true);
    for (; clock.now < 60_000; clock.now += 20) shedder.sample();
    expect(shedder.limit).toBe(1_000);
  });

  test("stays while a node is silent for two seconds, and after its callers have all been late", () => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    const run = (untilMs: number, answer: () => void) => {
      for (; clock.now < untilMs; clock.now += 20) {
        shedder.enter("/orders");
        answer();
        shedder.sample();
      }
    };
    run(2_000, () => undefined);
    for (let enteredAt = 0; enteredAt < 2_000; enteredAt += 20) shedder.left(enteredAt, true);
    run(10_000, () => shedder.left(clock.now - 50, true));
    expect(shedder.limit).toBe(1_000);
  });

  test("shrinks where orders are late, however quick reads are", () => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    for (let i = 0; i < 400; i++) shedder.enter("/orders");
    for (; clock.now < 20_000; clock.now += 20) {
      for (const tookMs of [5, 5, 5, 5]) shedder.left(clock.now - tookMs, false);
      shedder.left(clock.now - 2_000, true);
      for (let i = 0; i < 5; i++) shedder.enter("/health/live");
      shedder.sample();
    }
    expect(shedder.limit).toBeLessThanOrEqual(240);
  });

  test("stays where a few are slow", () => {
    const clock = { now: 0 };
    const shedder = new LoadShedder({ inFlightMax: 1_000, now: () => clock.now });
    for (; clock.now < 20_000; clock.now += 20) {
      for (let i = 0; i < 5; i++) shedder.enter("/orders");
      for (const tookMs of [5, 5, 5, 5, 2_000]) shedder.left(clock.now - tookMs, true);
      shedder.sample();
    }
    expect(shedder.limit).toBe(1_000);
  });
});

describe("a rate limit", () => {
  test("holds for the address that a request came from, whatever it says in X-Forwarded-For", async () => {
    await start([thing(() => ({ ok: true }))], {
      rateLimit: { requests: 3, seconds: 60 },
      cacher: undefined,
    });
    const replies: Reply[] = [];
    for (let i = 0; i < 5; i++)
      replies.push(await gateway.send(PATH, { headers: { "x-forwarded-for": `192.0.2.${i}` } }));
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429]);
    expectProblem(replies[4] as Reply, 429, "too_many_requests");
    expect(Number(replies[4]?.headers["retry-after"])).toBeGreaterThan(0);
    expect((await gateway.send("/health/live")).status).toBe(200);
    // Also where there is nothing: a limit that unknown paths escape is none.
    expect((await gateway.send("/nowhere")).status).toBe(429);
  });

  test("is off unless it is set", async () => {
    await start([thing(() => ({ ok: true }))]);
    for (let i = 0; i < 50; i++) expect((await gateway.send(PATH)).status).toBe(200);
  });
});

describe("a service that is away", () => {
  const product = { id: "p", name: "cup", stock: 7, parts: [{ available: 3 }] };

  test("is answered for with the last copy, which says so and tells nothing of the stock", async () => {
    const staleIfError = { seconds: 60, omit: ["stock", "available"] };
    await start([thing(() => product, { staleIfError })]);
    const fresh = await gateway.send(PATH);
    expect(fresh.body).toEqual(product);
    expect(fresh.headers).not.toHaveProperty("cache-status");
    await gateway.broker.destroyService("thing");
    const stale = await gateway.send(PATH);
    expect(stale.status).toBe(200);
    expect(stale.body).toEqual({ id: "p", name: "cup", stock: null, parts: [{ available: null }] });
    expect(stale.headers.age).toBe("0");
    expect(stale.headers["cache-status"]).toBe("concord; hit; ttl=-0; detail=stale-if-error");
    // Nothing is known of another one.
    expectProblem(await gateway.send(PATH.replace(/1$/, "2")), 503, "unavailable");
  });

  test("is not answered for where its action does not say so, nor after its product has changed", async () => {
    await start([thing(() => product)]);
    await gateway.send(PATH);
    await gateway.broker.destroyService("thing");
    expectProblem(await gateway.send(PATH), 503, "unavailable");
    await gateway.broker.stop();

    await start([thing(() => product, { staleIfError: { seconds: 60 } })]);
    await gateway.send(PATH);
    await gateway.broker.broadcast("product.changed", { id: PATH.split("/")[2] });
    await gateway.broker.destroyService("thing");
    expectProblem(await gateway.send(PATH), 503, "unavailable");
  });

  test("does not hide a bug, nor a refusal, behind an old copy", async () => {
    let err: unknown;
    const failing = () => {
      if (err) throw err;
      return product;
    };
    await start([thing(failing, { staleIfError: { seconds: 60 } })]);
    await gateway.send(PATH);
    err = new Error("a bug");
    expectProblem(await gateway.send(PATH), 500, "internal_error");
    err = Object.assign(new Error("gone"), { type: "not_found", code: 404 });
    expectProblem(await gateway.send(PATH), 404, "not_found");
  });
});
