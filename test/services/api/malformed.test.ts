import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { setTimeout } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { type Reply, TestGateway, USER_ID } from "./gateway.ts";
import { expectProblem, shop } from "./stand-ins.ts";

const gateway = new TestGateway([shop]);
beforeAll(() => gateway.broker.start());
afterAll(() => gateway.broker.stop());

const post = (body: unknown, headers = {}): Promise<Reply> =>
  gateway.send("/echo", { method: "POST", body, headers });

describe("400 malformed_request", () => {
  test.each([
    ["a body that is not JSON", "{items:1}"],
    ["a body that is not UTF-8", Buffer.from([0x22, 0xff, 0x22])],
    ["a body nested deeper than 20 levels", "[".repeat(21) + "]".repeat(21)],
    ["a body of fifty thousand brackets", "[".repeat(50_000) + "]".repeat(50_000)],
    ["__proto__ as a key", '{"__proto__":{"role":"admin"}}'],
    ["constructor as a key inside", '{"a":[{"constructor":1}]}'],
    ["prototype as an escaped key", '{"\\u0070rototype":1}'],
  ])("answers %s", async (_, body) => {
    expectProblem(await post(body), 400, "malformed_request");
  });

  test("answers a body that is not what its encoding says", async () => {
    expectProblem(await post("plain", { "content-encoding": "gzip" }), 400, "malformed_request");
  });

  test.each([
    "/things/42",
    "/things/%zz",
    "/things/%00",
    `/things/${USER_ID.toUpperCase().replace("0190", "019A")}`,
  ])("answers the malformed id of %s", async (path) => {
    expectProblem(await gateway.send(path), 400, "malformed_request");
  });

  test.each(["", "two words", "é", "k".repeat(256)])("answers the Idempotency-Key '%s'", async (key) => {
    const reply = await gateway.send("/things", { headers: { "idempotency-key": key } });
    expectProblem(reply, 400, "malformed_request");
    expect(reply.body.errors[0].parameter).toBe("Idempotency-Key");
  });

  test.each(["/things?q=%ff", "/things?__proto__=1"])("answers the query of %s", async (path) => {
    expectProblem(await gateway.send(path), 400, "malformed_request");
  });

  test.each([
    ["a request line that is not HTTP", "HELLO\r\n\r\n"],
    [
      "a content length beside chunks",
      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ["HTTP/1.1 without Host", "GET /things HTTP/1.1\r\nConnection: close\r\n\r\n"],
    [
      "a URL with bytes that are not ASCII",
      "GET /things?q=\xe9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
  ])("answers %s", async (_, text) => {
    const received = await gateway.raw(text);
    expect(received).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(received).toMatch(/content-type: application\/problem\+json/);
    expect(received).toMatch(/x-content-type-options: nosniff/);
    expect(JSON.parse(received.slice(received.indexOf("\r\n\r\n") + 4)).code).toBe("malformed_request");
  });
});

describe("413, 414, 415, 431", () => {
  const large = JSON.stringify({ text: "x".repeat(100 * 1024) });

  test("answers a body over 100 KB", async () => {
    expectProblem(await post(large), 413, "body_too_large");
  });

  test("answers a chunked body over 100 KB", async () => {
    expectProblem(
      await gateway.send("/echo", {
        method: "POST",
        body: large,
        headers: { "transfer-encoding": "chunked" },
      }),
      413,
      "body_too_large",
    );
  });

  test("answers a body that is over 100 KB once inflated", async () => {
    expectProblem(await post(gzipSync(large), { "content-encoding": "gzip" }), 413, "body_too_large");
  });

  test("takes a gzip body within the limit", async () => {
    const reply = await post(gzipSync('{"a":1}'), { "content-encoding": "gzip" });
    expect(reply.body).toEqual({ a: 1 });
  });

  test.each([8_300, 14_000, 30_000])("answers a URL of %i characters", async (length) => {
    expectProblem(await gateway.send(`/${"x".repeat(length)}`), 414, "uri_too_long");
  });

  test.each(["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", ""])(
    "refuses the content type '%s'",
    async (type) => {
      expectProblem(await post('{"a":1}', { "content-type": type }), 415, "unsupported_media_type");
    },
  );

  test("refuses an unknown content encoding", async () => {
    expectProblem(await post("x", { "content-encoding": "zstd" }), 415, "unsupported_media_type");
  });

  test("answers headers over the limit", async () => {
    expectProblem(
      await gateway.send("/things", { headers: { a: "x".repeat(20_000) } }),
      431,
      "headers_too_large",
    );
  });
});

test("answers a request that never becomes complete with 408", async () => {
  gateway.server.once("connection", (socket) => {
    socket.once("data", () => {
      const err = Object.assign(new Error("timeout"), { code: "ERR_HTTP_REQUEST_TIMEOUT" });
      setImmediate(() => gateway.server.emit("clientError", err, socket));
    });
  });
  const received = await gateway.raw("GET /things HTTP/1.1\r\nHost: a\r\n");
  expect(received).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
});

describe("what follows a whole request on its connection and is no request", () => {
  const GET = "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
  const POST =
    'POST /slow HTTP/1.1\r\nHost: a\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}';
  const CHUNKED =
    "POST /slow HTTP/1.1\r\nHost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
  const slow = (): Promise<unknown> => setTimeout(50, { done: true });
  const patient = new TestGateway([
    {
      name: "slow",
      settings: { rest: "/" } as never,
      actions: {
        read: { rest: "GET /slow", auth: "none", handler: slow },
        write: { rest: "POST /slow", auth: "none", handler: slow },
      },
    },
  ]);
  beforeAll(() => patient.broker.start());
  afterAll(() => patient.broker.stop());

  test.each<[what: string, sent: string, statuses: string[]]>([
    ["garbage", `${POST}garbage\r\n\r\n`, ["200", "400"]],
    ["garbage after two", `${GET}${POST}garbage\r\n\r\n`, ["200", "200", "400"]],
    ["a body that breaks off into garbage", `${GET}${CHUNKED}garbage\r\n\r\n`, ["200", "400"]],
    [
      "anything after the last request",
      `${GET.replace("Host", "Connection: close\r\nHost")}garbage\r\n\r\n`,
      ["200"],
    ],
  ])("is answered after it: %s", async (_what, sent, statuses) => {
    const received = await patient.raw(sent);
    expect([...received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(statuses);
    expect(received).toMatch(/connection: close\r\n/i);
  });

  test("keeps no connection open, though its client goes on sending", async () => {
    const { port } = gateway.server.address() as AddressInfo;
    const socket = connect(port, "127.0.0.1").on("error", () => undefined);
    socket.write("garbage\r\n\r\n");
    const sending = setInterval(() => socket.write("x"), 100);
    const startedAt = performance.now();
    await once(socket.resume(), "close");
    clearInterval(sending);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});
