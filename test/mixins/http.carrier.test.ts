/** Calls between services over HTTP, against a server that answers, fails and hangs as it is told to. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import type { Caller, Route } from "../../mixins/carrier.ts";
import { HttpCarrier, type HttpCarrierOptions } from "../../mixins/http.carrier.ts";
import { freePort } from "../../scripts/ports.ts";

const READ: Route = { action: "other.read", method: "POST", path: "/internal/other/read", idempotent: true };
const WRITE: Route = { ...READ, action: "other.write", idempotent: false };
const CALLER = { requestID: "r-1" } as Caller;
const SECRET = "a secret of the shop";

type Behaviour = (req: IncomingMessage, res: ServerResponse) => void;
let server: Server;
let behaviours: Behaviour[];
let requests: { headers: IncomingMessage["headers"]; body: string }[];
let carrier: HttpCarrier;
beforeEach(async () => {
  requests = [];
  behaviours = [];
  server = createServer((req, res) => {
    let body = "";
    req.on("data", (chunk) => {
      body += chunk;
    });
    req.on("end", () => {
      requests.push({ headers: req.headers, body });
      // The last one stays.
      const behaviour = behaviours.length > 1 ? behaviours.shift() : behaviours[0];
      behaviour?.(req, res);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  carrier.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const open = (options: HttpCarrierOptions = {}): void => {
  carrier = new HttpCarrier(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, SECRET, options);
};
const answers =
  (status: number, body: unknown, headers: Record<string, string> = {}): Behaviour =>
  (_req, res) =>
    res.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
const problem = (status: number, code: string, members: object = {}): Behaviour =>
  answers(status, {
    type: `/docs/errors#${code}`,
    title: "t",
    status,
    detail: "why",
    code,
    requestId: "r",
    ...members,
  });
const hangs: Behaviour = () => undefined;

test("brings parameters, request id and secret, and the result back; no body is null", async () => {
  open();
  behaviours = [answers(200, { ended: 2 }), answers(200, "")];
  expect(await carrier.call(CALLER, READ, { id: "7" })).toEqual({ ended: 2 });
  expect(requests[0]?.body).toBe('{"id":"7"}');
  expect(requests[0]?.headers).toMatchObject({ authorization: `Bearer ${SECRET}`, "x-request-id": "r-1" });
  expect(await carrier.call(CALLER, READ, {})).toBeNull();
});

test("a problem document becomes the error it was made of", async () => {
  open();
  behaviours = [problem(409, "email_taken", { hint: "log in" })];
  await expect(carrier.call(CALLER, READ, {})).rejects.toMatchObject({
    type: "email_taken",
    code: 409,
    message: "why",
    data: { hint: "log in" },
  });
  expect(requests).toHaveLength(1);
});

test("repeats what is idempotent while the failure may pass, and nothing else", async () => {
  open();
  behaviours = [problem(503, "unavailable"), answers(502, "<html>"), answers(200, "1")];
  expect(await carrier.call(CALLER, READ, {})).toBe(1);
  expect(requests).toHaveLength(3);
  behaviours = [problem(503, "unavailable")];
  await expect(carrier.call(CALLER, WRITE, {})).rejects.toMatchObject({ type: "unavailable" });
  expect(requests).toHaveLength(4);
  behaviours = [problem(503, "overloaded")];
  await expect(carrier.call(CALLER, READ, {})).rejects.toMatchObject({ type: "overloaded" });
  expect(requests).toHaveLength(5);
});

test("repeats at most a tenth of the calls beyond its reserve, and nothing that is repeated above", async () => {
  open();
  // Every other answer: the breaker never closes the way.
  behaviours = Array.from({ length: 400 }, (_, i) =>
    i % 2 ? answers(200, "1") : problem(503, "unavailable"),
  );
  for (let i = 0; i < 100; i++) await carrier.call(CALLER, READ, {}).catch(() => undefined);
  expect(requests.length).toBeLessThanOrEqual(120);
  open();
  behaviours = [problem(503, "unavailable")];
  requests = [];
  const repeated = { ...CALLER, headers: { $repeatedAbove: true } } as Caller;
  await expect(carrier.call(repeated, READ, {})).rejects.toMatchObject({ type: "unavailable" });
  expect(requests).toHaveLength(1);
});

test("what hangs costs its time limit, for all tries together", async () => {
  open({ totalMs: 300, tryMs: 150 });
  behaviours = [hangs];
  const since = performance.now();
  await expect(carrier.call(CALLER, READ, {})).rejects.toMatchObject({ type: "deadline_exceeded" });
  expect(performance.now() - since).toBeLessThan(1_500);
  expect(requests.length).toBeLessThanOrEqual(2);
});

test("nobody waits longer than the caller does", async () => {
  open();
  behaviours = [hangs];
  const hurried = { ...CALLER, options: { timeout: 200 }, startHrTime: process.hrtime() } as Caller;
  const since = performance.now();
  await expect(carrier.call(hurried, READ, {})).rejects.toMatchObject({ type: "deadline_exceeded" });
  expect(performance.now() - since).toBeLessThan(1_500);
});

test("who answers five times in a row with a fault is not asked for a moment; one call then finds out", async () => {
  open({ openMs: 200 });
  behaviours = [problem(500, "internal_error")];
  for (let i = 0; i < 5; i++)
    await expect(carrier.call(CALLER, WRITE, {})).rejects.toMatchObject({ type: "internal_error" });
  behaviours = [answers(200, "1")];
  await expect(carrier.call(CALLER, WRITE, {})).rejects.toMatchObject({ type: "unavailable" });
  expect(requests).toHaveLength(5);
  const since = performance.now();
  for (;;) {
    const result = await carrier.call(CALLER, WRITE, {}).catch(() => undefined);
    if (result === 1) break;
    if (performance.now() - since > 5_000) throw new Error("the way stays closed");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(requests).toHaveLength(6);
  expect(await carrier.call(CALLER, WRITE, {})).toBe(1);
});

test("a refusal that is the caller's own fault does not close the way", async () => {
  open();
  behaviours = [problem(422, "validation_failed")];
  for (let i = 0; i < 6; i++)
    await expect(carrier.call(CALLER, READ, {})).rejects.toMatchObject({ type: "validation_failed" });
  expect(requests).toHaveLength(6);
});

test("an address where nobody listens, or somebody else does, is told apart", async () => {
  open();
  behaviours = [answers(200, "<html>Welcome</html>")];
  await expect(carrier.call(CALLER, READ, {})).rejects.toMatchObject({ type: "internal_error" });
  carrier.close();
  carrier = new HttpCarrier(`http://127.0.0.1:${await freePort()}`, SECRET);
  await expect(carrier.call(CALLER, WRITE, {})).rejects.toMatchObject({ type: "unavailable" });
});
