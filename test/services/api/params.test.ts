import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Context, ServiceSchema } from "moleculer";
import { TestGateway, USER_ID } from "./gateway.ts";

const seen = (ctx: Context): unknown => ({ params: ctx.params, meta: ctx.meta });

const shop: ServiceSchema = {
  name: "shop",
  settings: { rest: "/" } as never,
  actions: {
    change: { rest: "PUT /things/:id", auth: "user", query: ["mode"], handler: seen },
    open: { rest: "GET /open", auth: "none", query: ["a", "b"], handler: seen },
    made: {
      rest: "POST /made",
      auth: "none",
      successStatus: 201,
      handler(ctx: Context<unknown, Record<string, unknown>>) {
        ctx.meta.$location = "/made/1";
        ctx.meta.$responseHeaders = { ETag: '"1"', "Cache-Control": "public, max-age=60" };
        return { made: true };
      },
    },
    same: {
      rest: "GET /same",
      auth: "none",
      handler(ctx: Context<unknown, Record<string, unknown>>) {
        ctx.meta.$statusCode = 304;
        ctx.meta.$responseHeaders = { ETag: '"1"' };
        return { ignored: true };
      },
    },
    gone: { rest: "DELETE /made", auth: "none", successStatus: 204, handler: () => undefined },
  },
};

const gateway = new TestGateway([shop], {
  corsOrigins: ["https://shop.example.com"],
  trustedProxies: ["127.0.0.0/8"],
});
beforeAll(() => gateway.broker.start());
afterAll(() => gateway.broker.stop());

describe("an action's params", () => {
  const change = (path: string, body: unknown) =>
    gateway.send(path, { method: "PUT", token: gateway.userToken, body });

  test("are one flat object of path, query and body", async () => {
    const reply = await change(`/things/${USER_ID}?mode=a+b%26`, { name: "x", list: [1] });
    expect(reply.body.params).toEqual({ id: USER_ID, mode: "a b&", name: "x", list: [1] });
  });

  test.each(["id", "mode"])("never take %s from the body", async (name) => {
    const reply = await change(`/things/${USER_ID}`, { [name]: "forged" });
    expect(reply.status).toBe(422);
    expect(reply.body.errors).toMatchObject([{ pointer: `/${name}` }]);
  });

  test.each(["id", "name"])("never take %s from the query", async (name) => {
    const reply = await change(`/things/${USER_ID}?${name}=forged`, { name: "x" });
    expect(reply.status).toBe(422);
    expect(reply.body.errors).toMatchObject([{ parameter: name }]);
  });

  test("are empty where no body is sent", async () => {
    const reply = await gateway.send(`/things/${USER_ID}`, { method: "PUT", token: gateway.userToken });
    expect(reply.body.params).toEqual({ id: USER_ID });
  });
});

describe("an action's meta", () => {
  test("says who calls, from where, and under which preconditions", async () => {
    const reply = await gateway.send(`/things/${USER_ID}`, {
      method: "PUT",
      body: {},
      token: gateway.adminToken,
      headers: {
        "x-request-id": "mine-1",
        "x-forwarded-for": "203.0.113.7",
        "idempotency-key": "k1",
        "if-match": '"3"',
        "if-none-match": "*",
      },
    });
    expect(reply.body.meta).toEqual({
      user: { id: USER_ID, roles: ["user", "admin"] },
      requestId: "mine-1",
      clientAddress: "203.0.113.7",
      idempotencyKey: "k1",
      ifMatch: '"3"',
      ifNoneMatch: "*",
    });
    expect(reply.headers["x-request-id"]).toBe("mine-1");
  });

  test("names nobody where the action is open, whatever token is sent", async () => {
    const reply = await gateway.send("/open", { token: "not.a.token" });
    expect(reply.body.meta.user).toBeNull();
  });

  test.each(["", "two words", "x".repeat(129)])("gets a new request id instead of '%s'", async (sent) => {
    const reply = await gateway.send("/open", { headers: { "x-request-id": sent } });
    expect(reply.body.meta.requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(reply.headers["x-request-id"]).toBe(reply.body.meta.requestId);
  });
});

describe("an answer", () => {
  test("carries what the action set: status, Location, headers", async () => {
    const reply = await gateway.send("/made", { method: "POST", body: {} });
    expect(reply).toMatchObject({
      status: 201,
      body: { made: true },
      headers: { location: "/made/1", etag: '"1"', "cache-control": "public, max-age=60" },
    });
  });

  test("may be 304, which has no body", async () => {
    const reply = await gateway.send("/same");
    expect(reply).toMatchObject({ status: 304, text: "", headers: { etag: '"1"' } });
  });

  test("may be 204, which has no body", async () => {
    const reply = await gateway.send("/made", { method: "DELETE" });
    expect(reply).toMatchObject({ status: 204, text: "" });
  });

  test("is that of GET without the body for HEAD", async () => {
    const get = await gateway.send("/open?a=1", { headers: { "x-request-id": "r" } });
    const head = await gateway.send("/open?a=1", { method: "HEAD", headers: { "x-request-id": "r" } });
    expect(head).toMatchObject({ status: 200, text: "" });
    expect(head.headers["content-length"]).toBe(get.headers["content-length"]);
  });

  test("lists the methods for OPTIONS", async () => {
    const reply = await gateway.send("/made", { method: "OPTIONS" });
    expect(reply).toMatchObject({ status: 204, text: "", headers: { allow: "DELETE, OPTIONS, POST" } });
  });

  test.each(["/open", "/nothing", "/same"])("of %s may not be sniffed, framed or stored", async (path) => {
    expect((await gateway.send(path)).headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    });
  });

  test("is the same for a request target in absolute form", async () => {
    const received = await gateway.raw(
      "GET http://shop/open?a=1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n",
    );
    expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*"params":\{"a":"1"\}/);
  });
});

describe("cross-origin requests", () => {
  const preflight = { "access-control-request-method": "POST" };

  test("are allowed from an origin on the list", async () => {
    const reply = await gateway.send("/made", {
      method: "OPTIONS",
      headers: { origin: "https://shop.example.com", ...preflight },
    });
    expect(reply).toMatchObject({
      status: 204,
      headers: {
        "access-control-allow-origin": "https://shop.example.com",
        "access-control-allow-methods": "DELETE, OPTIONS, POST",
        vary: "Origin",
      },
    });
  });

  test.each([
    "https://shop.example.co",
    "https://shop.example.com.evil.org",
    "http://shop.example.com",
    "null",
  ])("are not allowed from %s", async (origin) => {
    const { headers } = await gateway.send("/made", { method: "OPTIONS", headers: { origin, ...preflight } });
    expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
  });
});
