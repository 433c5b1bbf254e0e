/** What every refusal of the gateway looks like. */
import { expect } from "@jest/globals";
import type { Reply } from "./client.ts";

/** A problem document of this status and code, that gives nothing away. */
export function expectProblem(reply: Reply, status: number, code: string): void {
  expect({ status: reply.status, code: reply.body?.code, text: reply.text }).toMatchObject({ status, code });
  expect(reply.headers["content-type"]).toBe("application/problem+json; charset=utf-8");
  expect(reply.body).toMatchObject({
    type: expect.any(String),
    title: expect.any(String),
    status,
    detail: expect.any(String),
    instance: expect.any(String),
    requestId: reply.headers["x-request-id"],
  });
  expect(reply.text).not.toMatch(/node_modules|at .*\.ts:|select |insert into|127\.0\.0\.1|postgres/i);
}
