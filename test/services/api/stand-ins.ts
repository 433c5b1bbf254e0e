/** Stand-in services for the gateway's tests: actions of every kind of access, and one that fails as it is told to. */
import { expect } from "@jest/globals";
import type { Context, ServiceSchema } from "moleculer";
import { ERRORS, type ErrorCode, ShopError } from "../../../lib/errors.ts";
import type { Reply } from "./gateway.ts";

/** What GET /fail throws. */
export const failing: { err: unknown } = { err: undefined };

export const shop: ServiceSchema = {
  name: "shop",
  settings: { rest: "/" } as never,
  actions: {
    echo: { rest: "POST /echo", auth: "none", handler: (ctx: Context) => ctx.params },
    get: { rest: "GET /things/:id", auth: "none", handler: (ctx: Context) => ctx.params },
    list: {
      rest: "GET /things",
      auth: "none",
      query: ["limit", "q"],
      params: {
        $$strict: true,
        limit: "number|integer|min:1|max:100|convert|default:20",
        q: "string|optional",
      } as never,
      handler: (ctx: Context) => ctx.params,
    },
    order: {
      rest: "POST /orders",
      params: {
        $$strict: true,
        items: {
          type: "array",
          items: { type: "object", strict: true, props: { quantity: "number|integer|min:1" } },
        },
      } as never,
      handler: (ctx: Context) => ctx.params,
    },
    unmarked: { rest: "GET /unmarked", handler: () => "seen" },
    mistyped: { rest: "GET /mistyped", auth: "nobody" as never, handler: () => "seen" },
    manage: { rest: "GET /manage", auth: "admin", handler: () => ({ ok: true }) },
    fail: {
      rest: "GET /fail",
      auth: "none",
      handler() {
        throw failing.err;
      },
    },
    badHeader: {
      rest: "GET /bad-header",
      auth: "none",
      handler(ctx: Context<unknown, { $responseHeaders: Record<string, string> }>) {
        ctx.meta.$responseHeaders = { ETag: "two\nlines" };
        throw new ShopError("not_found", "There is no such thing.");
      },
    },
    badResult: { rest: "GET /bad-result", auth: "none", handler: () => ({ amount: 1n }) },
    hang: { rest: "GET /hang", auth: "none", timeout: 20, handler: () => new Promise(() => undefined) },
  },
};

/** The reply is a complete problem document of this status and code. */
export function expectProblem(reply: Reply, status: number, code: ErrorCode): void {
  expect({ status: reply.status, code: reply.body?.code, type: reply.headers["content-type"] }).toEqual({
    status,
    code,
    type: "application/problem+json; charset=utf-8",
  });
  expect(reply.body).toMatchObject({
    type: `/docs/errors#${code}`,
    title: ERRORS[code].title,
    status,
    detail: expect.any(String),
    instance: expect.any(String),
    requestId: reply.headers["x-request-id"],
  });
}
