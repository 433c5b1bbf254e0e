import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { Errors } from "moleculer";
import { ShopError } from "../../../lib/errors.ts";
import { retryMiddleware } from "../../../mixins/retry.middleware.ts";
import { TestGateway, USER_ID } from "./gateway.ts";
import { expectProblem, failing, shop } from "./stand-ins.ts";

const gateway = new TestGateway([shop]);
beforeAll(() => gateway.broker.start());
afterAll(() => gateway.broker.stop());
beforeEach(() => {
  gateway.logged.length = 0;
});

describe("what goes wrong behind the gateway", () => {
  test("passes the detail and the extra members of a refusal on", async () => {
    failing.err = new ShopError("insufficient_stock", "Only 3 are left.", {
      productId: USER_ID,
      available: 3,
    });
    const reply = await gateway.send("/fail");
    expectProblem(reply, 409, "insufficient_stock");
    expect(reply.body).toMatchObject({ detail: "Only 3 are left.", productId: USER_ID, available: 3 });
    expect(gateway.logged).toEqual([]);
  });

  test("reads an error that has lost its class on the way from another node", async () => {
    failing.err = Object.assign(new Error("Wait."), {
      type: "too_many_requests",
      code: 429,
      data: { retryAfter: 61.2 },
    });
    const reply = await gateway.send("/fail");
    expectProblem(reply, 429, "too_many_requests");
    expect(reply.headers["retry-after"]).toBe("62");
    expect(reply.body.retryAfter).toBeUndefined();
  });

  test.each([
    ["a service nobody hosts", new Errors.ServiceNotFoundError({ action: "a.b" }), 503, "unavailable"],
    [
      "an open circuit",
      new Errors.ServiceNotAvailableError({ action: "a.b", nodeID: "secret-node" }),
      503,
      "unavailable",
    ],
    ["a full queue", new Errors.QueueIsFullError({ action: "a.b" } as never), 503, "overloaded"],
    [
      "a call skipped for its deadline",
      new Errors.RequestSkippedError({ action: "a.b" } as never),
      504,
      "deadline_exceeded",
    ],
    [
      "a provider that is down",
      new ShopError("payment_unavailable", "connect ECONNREFUSED 10.0.0.5:443"),
      503,
      "payment_unavailable",
    ],
  ] as const)("answers %s by Retry-After", async (_, err, status, code) => {
    failing.err = err;
    const reply = await gateway.send("/fail");
    expectProblem(reply, status, code);
    expect(reply.headers["retry-after"]).toBe("1");
    expect(reply.text).not.toMatch(/a\.b|secret-node|10\.0\.0\.5/);
  });

  test("answers 504 when the action's deadline passes", async () => {
    expectProblem(await gateway.send("/hang"), 504, "deadline_exceeded");
  });

  test.each([
    [
      "a database error",
      Object.assign(new Error('relation "users_secret" does not exist at 10.0.0.5'), { code: "42P01" }),
    ],
    [
      "an error of a strange type",
      Object.assign(new Error("/etc/secret"), { type: "toString", data: { secret: 1 } }),
    ],
    ["a string", "secret"],
    ["null", null],
  ])("tells nothing of a bug that throws %s but where to look it up", async (_, err) => {
    failing.err = err;
    const reply = await gateway.send("/fail", { headers: { "x-request-id": "look-me-up" } });
    expectProblem(reply, 500, "internal_error");
    expect(reply.text).not.toMatch(/secret|10\.0\.0\.5|stack/);
    expect(gateway.logged).toMatchObject([["error", expect.any(String), { requestId: "look-me-up" }]]);
  });

  test("answers 500 where an action's header or result cannot be sent", async () => {
    for (const path of ["/bad-header", "/bad-result"])
      expectProblem(await gateway.send(path), 500, "internal_error");
  });
});

describe("a service of the shop that calls over HTTP", () => {
  test("repeats for itself: the gateway does not repeat what it asks for, but what others do", async () => {
    const hits = { count: 0 };
    const handler = () => {
      hits.count++;
      throw new Errors.MoleculerRetryableError("the database is down", 503, "unavailable", {});
    };
    const action = { idempotent: true, handler };
    const down = {
      name: "down",
      settings: { rest: "/" },
      actions: {
        forServices: { ...action, rest: "GET /for-services", auth: "service" },
        forAll: { ...action, rest: "GET /for-all", auth: "none" },
      },
    } as never;
    const secret = "secret-of-the-shop";
    const middlewares = [((broker: never) => retryMiddleware(broker)) as never];
    const asked = new TestGateway([down], { serviceSecret: secret }, { middlewares });
    await asked.broker.start();
    try {
      expectProblem(await asked.send("/for-services", { token: secret }), 503, "unavailable");
      expect(hits.count).toBe(1);
      expectProblem(await asked.send("/for-all"), 503, "unavailable");
      expect(hits.count).toBe(1 + 3);
    } finally {
      await asked.broker.stop();
    }
  });
});
