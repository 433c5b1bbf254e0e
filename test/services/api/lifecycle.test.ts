import http from "node:http";
import { describe, expect, test } from "@jest/globals";
import type { ServiceSchema } from "moleculer";
import { TestGateway } from "./gateway.ts";
import { expectProblem } from "./stand-ins.ts";

const thing = (handler: () => unknown): ServiceSchema => ({
  name: "thing",
  settings: { rest: "/" } as never,
  actions: { get: { rest: "GET /thing", auth: "none", handler } },
});

describe("the routes", () => {
  test("are there when the broker has started", async () => {
    const gateway = new TestGateway([thing(() => ({ ok: true }))]);
    await gateway.broker.start();
    expect((await gateway.send("/thing")).status).toBe(200);
    await gateway.broker.stop();
  });

  test("outlive their service, answering 503 until it is back", async () => {
    const gateway = new TestGateway([thing(() => ({ ok: true }))]);
    await gateway.broker.start();
    expect((await gateway.send("/thing")).status).toBe(200);
    await gateway.broker.destroyService("thing");
    const reply = await gateway.send("/thing");
    expectProblem(reply, 503, "unavailable");
    expect(reply.headers["retry-after"]).toBe("1");
    expect(Object.keys((await gateway.send("/openapi.json")).body.paths)).toContain("/thing");
    gateway.broker.createService(thing(() => ({ back: true })));
    await gateway.broker.waitForServices("thing", 5_000, 10);
    expect((await gateway.send("/thing")).body).toEqual({ back: true });
    await gateway.broker.stop();
  });

  test("that are not known yet answer 503, not 404, while an expected service is missing", async () => {
    const gateway = new TestGateway([], { expectedServices: ["api", "thing"] });
    await gateway.broker.start();
    expectProblem(await gateway.send("/thing"), 503, "unavailable");
    gateway.broker.createService(thing(() => ({ ok: true })));
    await gateway.broker.waitForServices("thing", 5_000, 10);
    expect((await gateway.send("/thing")).status).toBe(200);
    expectProblem(await gateway.send("/nothing"), 404, "not_found");
    await gateway.broker.stop();
  });

  test("go where their service comes back without them", async () => {
    const gateway = new TestGateway([thing(() => ({ ok: true }))]);
    await gateway.broker.start();
    await gateway.send("/thing");
    await gateway.broker.destroyService("thing");
    gateway.broker.createService({ name: "thing", actions: { other: () => undefined } });
    await gateway.broker.waitForServices("thing", 5_000, 10);
    expectProblem(await gateway.send("/thing"), 404, "not_found");
    await gateway.broker.stop();
  });

  test("are refused to a second action on the same path, loudly", async () => {
    const rival = { ...thing(() => ({ rival: true })), name: "rival" };
    const gateway = new TestGateway([thing(() => ({ first: true })), rival]);
    await gateway.broker.start();
    await gateway.send("/thing");
    expect(gateway.logged).toEqual([["error", expect.stringContaining("GET /thing is taken by")]]);
    await gateway.broker.stop();
  });
});

describe("health", () => {
  test("is live and ready once every expected service is known", async () => {
    const gateway = new TestGateway([thing(() => undefined)], { expectedServices: ["api", "thing"] });
    await gateway.broker.start();
    expect((await gateway.send("/health/live")).status).toBe(200);
    expect(await gateway.send("/health/ready")).toMatchObject({
      status: 200,
      body: { status: "ready", checks: { node: "ok", api: "ok", thing: "ok" } },
    });
    await gateway.broker.stop();
  });

  test("is not ready while a service is missing or says it is not well", async () => {
    const ill = { name: "ill", actions: { health: () => Promise.reject(new Error("no database")) } };
    const gateway = new TestGateway([ill], { expectedServices: ["ill", "order"] });
    await gateway.broker.start();
    expect(await gateway.send("/health/ready")).toMatchObject({
      status: 503,
      headers: { "content-type": "application/json; charset=utf-8" },
      body: { status: "not_ready", checks: { ill: "failing", order: "missing" } },
    });
    expect((await gateway.send("/health/live")).status).toBe(200);
    await gateway.broker.stop();
  });
});

describe("stopping", () => {
  test("finishes the request in flight, then accepts no more", async () => {
    const { promise: entered, resolve: enter } = Promise.withResolvers<void>();
    const { promise: finished, resolve: finish } = Promise.withResolvers<unknown>();
    const slow = thing(() => {
      enter();
      return finished;
    });
    const gateway = new TestGateway([slow]);
    await gateway.broker.start();
    const { port, server } = gateway;
    const closed = new Promise((resolve) => server.once("close", resolve));
    const agent = new http.Agent({ keepAlive: true });
    const pending = get(port, "/thing", agent);
    await entered;
    const stopped = gateway.broker.stop();
    await untilRefused(port);
    finish({ done: true });
    // Were the connection left open, the server would wait for it until it cuts it off.
    expect(await pending).toEqual({ status: 200, connection: "close" });
    await closed;
    await stopped;
    agent.destroy();
  });

  test("asks clients to leave, closes their idle connections, and is not ready", async () => {
    // Long enough for the requests below, which come before the server closes.
    const gateway = new TestGateway([], {}, { registry: { stopDelay: 300 } });
    await gateway.broker.start();
    const agent = new http.Agent({ keepAlive: true });
    const idle = await statusOf(gateway.port, agent);
    expect(idle).toEqual({ status: 200, connection: "keep-alive" });
    const stopped = gateway.broker.stop();
    expect(await statusOf(gateway.port, new http.Agent())).toEqual({ status: 503, connection: "close" });
    await stopped;
    agent.destroy();
  });
});

const statusOf = (port: number, agent: http.Agent) => get(port, "/health/ready", agent);

function get(
  port: number,
  path: string,
  agent: http.Agent,
): Promise<{ status?: number; connection?: string }> {
  return new Promise((resolve, reject) => {
    http
      .get({ port, host: "127.0.0.1", path, agent }, (response) => {
        response.resume();
        response.on("end", () =>
          resolve({ status: response.statusCode, connection: response.headers.connection }),
        );
      })
      .on("error", reject);
  });
}

/** Connects again and again until nobody listens; what the closing port still had in its queue is reset. */
async function untilRefused(port: number): Promise<void> {
  for (;;) {
    try {
      await statusOf(port, new http.Agent());
    } catch (err) {
      if ((err as { code?: string }).code === "ECONNREFUSED") return;
    }
  }
}
