/** The gRPC server in front of stand-in actions, over a real connection. */
import { type ChannelCredentials, Client, credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals";
import { service as healthService } from "grpc-health-check";
import { type BrokerOptions, type Context, ServiceBroker, type ServiceSchema } from "moleculer";
import { ShopError } from "../../../lib/errors.ts";
import { Grpc } from "../../../mixins/grpc.middleware.ts";
import type { Endpoint, EndpointList } from "../../../mixins/middleware.ts";
import options from "../../../moleculer.config.ts";
import { SERVED } from "../../../proto/contract.ts";
import { signer, USER_ID } from "../../services/api/gateway.ts";
import { GrpcClient } from "../../support/grpc.ts";
import { gate, until } from "../../support/until.ts";

const GET = "shop.v1.Products/GetProduct";
const LIST = "shop.v1.Products/ListProducts";
const PLACE = "shop.v1.Orders/PlaceOrder";
const OUTCOME = "shop.v1.TransactionManager/Outcome";
const ID = "01900000-0000-7000-8000-000000000001";
const keys = signer();
const PRODUCT = {
  id: ID,
  sku: "S",
  name: "Mug",
  description: "",
  price: { amount: 2 ** 53 - 1, currency: "EUR" },
  stock: 3,
  available: 2,
  version: 1,
  createdAt: "2026-01-02T03:04:05.678Z",
  updatedAt: "1969-12-31T23:59:59.001Z",
};

let seen: Context[];
let begun: string[];
let opened = gate();
let get: (ctx: Context) => unknown;

const standIns: ServiceSchema[] = [
  { name: "auth", actions: { jwks: () => ({ keys: [keys.jwk] }) } },
  {
    name: "product",
    actions: {
      get: { grpc: GET, auth: "none", params: { id: "uuid" }, handler: (ctx) => get(ctx) },
      list: { grpc: LIST, auth: "none", handler: () => ({ items: [], nextCursor: null }) },
      second: () => begun.push("second"),
    },
  },
  {
    name: "order",
    actions: {
      place: {
        grpc: PLACE,
        handler: (ctx: Context) => {
          seen.push(ctx);
          return { id: ID, status: "pending" };
        },
      },
    },
  },
  {
    name: "transaction-manager",
    actions: { outcome: { grpc: OUTCOME, auth: "participant", handler: () => [] } },
  },
] as ServiceSchema[];

function open(more: Partial<BrokerOptions> = {}): { broker: ServiceBroker; grpc: Grpc } {
  const grpc = new Grpc(0);
  const middlewares = [grpc.middleware, ...(options.middlewares ?? [])];
  const broker = new ServiceBroker({ ...options, logger: false, middlewares, ...more });
  for (const schema of standIns) broker.createService(schema);
  return { broker, grpc };
}

describe("a unary call", () => {
  const { broker, grpc } = open();
  let client: GrpcClient;
  beforeAll(async () => {
    await broker.start();
    client = new GrpcClient(grpc.port as number);
  });
  afterAll(async () => {
    client.close();
    await broker.stop();
  });
  beforeEach(() => {
    seen = [];
    begun = [];
    opened = gate();
    get = () => PRODUCT;
  });

  test("carries money exactly and times to the millisecond", async () => {
    const reply = await client.call(GET, { id: ID });
    expect(reply.message).toMatchObject({
      price: { amount: "9007199254740991", currency: "EUR" },
      createdAt: { seconds: "1767323045", nanos: 678_000_000 },
      updatedAt: { seconds: "-1", nanos: 1_000_000 },
    });
  });

  test("hands on the caller, the key and the request id, and answers the request id", async () => {
    const metadata = { "idempotency-key": "k-1", "x-request-id": "r-1" };
    const reply = await client.call(PLACE, {}, { token: keys.sign(), metadata });
    expect(reply).toMatchObject({ status: "OK", requestId: "r-1", message: { replayed: false } });
    expect(seen[0]?.meta).toMatchObject({
      user: { id: USER_ID, roles: ["user"] },
      idempotencyKey: "k-1",
      requestId: "r-1",
      clientAddress: "127.0.0.1",
    });
    expect(seen[0]?.requestID).toBe("r-1");
  });

  test("is refused without a token, with a bad one, and with one of the wrong kind", async () => {
    expect(await client.call(PLACE, {})).toMatchObject({ status: "UNAUTHENTICATED", code: "unauthorized" });
    expect(await client.call(PLACE, {}, { token: "a.b.c" })).toMatchObject({ status: "UNAUTHENTICATED" });
    const token = keys.sign({ roles: ["user", "admin"] });
    expect(await client.call(OUTCOME, {}, { token })).toMatchObject({
      status: "PERMISSION_DENIED",
      code: "forbidden",
    });
    expect(seen).toEqual([]);
  });

  test("is refused for an enum's value that nobody knows, a number beyond 2^53, a zero character", async () => {
    const fault = (pointer: string, code: string) => ({
      status: "INVALID_ARGUMENT",
      code: "validation_failed",
      problem: { errors: [{ pointer, code }] },
    });
    expect(await client.call(LIST, { sort: 99 })).toMatchObject(fault("/sort", "enum_value"));
    const beyond = await client.call(LIST, { minPrice: "9007199254740993" });
    expect(beyond).toMatchObject(fault("/minPrice", "number_unsafe"));
    expect(await client.call(LIST, { q: "a\0" })).toMatchObject(fault("/q", "null_character"));
    expect(await client.call(GET, { id: "x" })).toMatchObject(fault("/id", "uuid"));
  });

  test("is refused for a malformed key, as over HTTP", async () => {
    const send = { token: keys.sign(), metadata: { "idempotency-key": "two words" } };
    expect(await client.call(PLACE, {}, send)).toMatchObject({
      status: "INVALID_ARGUMENT",
      code: "malformed_request",
    });
  });

  test("is refused above 1 MB", async () => {
    const reply = await client.call(LIST, { q: "x".repeat(1_100_000) });
    expect(reply.status).toBe("RESOURCE_EXHAUSTED");
  });

  test("says what failed, with the document that REST would answer, and nothing of a bug", async () => {
    get = () => {
      throw new ShopError("insufficient_stock", "Only 1 is left.", { productId: ID, available: 1 });
    };
    expect(await client.call(GET, { id: ID })).toMatchObject({
      status: "FAILED_PRECONDITION",
      details: "Only 1 is left.",
      code: "insufficient_stock",
      problem: { type: "/docs/errors#insufficient_stock", status: 409, productId: ID, available: 1 },
    });
    get = () => {
      throw new Error("select secret from table");
    };
    const bug = await client.call(GET, { id: ID });
    expect(bug).toMatchObject({ status: "INTERNAL", code: "internal_error" });
    expect(JSON.stringify(bug)).not.toMatch(/secret/);
  });

  /** An action that waits at the gate and then calls another. */
  const calling = (ctx: Context) => {
    begun.push("first");
    return opened.promise.then(() => ctx.call("product.second"));
  };

  test("whose deadline has passed answers DEADLINE_EXCEEDED and begins nothing more", async () => {
    get = calling;
    const reply = await client.call(GET, { id: ID }, { deadlineMs: 100 });
    expect(reply.status).toBe("DEADLINE_EXCEEDED");
    await until("it has begun", () => begun.includes("first"));
    get = () => PRODUCT;
    // The server hears of the end before it hears of the next call; and serves one more after what would have begun.
    await client.call(GET, { id: ID });
    opened.open();
    await client.call(GET, { id: ID });
    expect(begun).toEqual(["first"]);
  });

  test("that its client cancels begins nothing more", async () => {
    get = calling;
    const cancel = new AbortController();
    const reply = client.call(GET, { id: ID }, { signal: cancel.signal });
    await until("it has begun", () => begun.includes("first"));
    cancel.abort();
    expect((await reply).status).toBe("CANCELLED");
    get = () => PRODUCT;
    await client.call(GET, { id: ID });
    opened.open();
    await client.call(GET, { id: ID });
    expect(begun).toEqual(["first"]);
  });

  test("is answered again after its breaker was open while some node left", async () => {
    const { endpoints } = (
      broker.registry as unknown as { getActionEndpoints(name: string): EndpointList }
    ).getActionEndpoints("product.get");
    const [endpoint] = endpoints as [Endpoint];
    endpoint.state = false;
    broker.localBus.emit("$node.disconnected", {});
    expect(await client.call(GET, { id: ID })).toMatchObject({ status: "UNAVAILABLE" });
    endpoint.state = true;
    expect(await client.call(GET, { id: ID })).toMatchObject({ status: "OK" });
  });

  test("that goes on begins what comes next", async () => {
    get = (ctx) => calling(ctx).then(() => PRODUCT);
    opened.open();
    expect((await client.call(GET, { id: ID })).status).toBe("OK");
    expect(begun).toEqual(["first", "second"]);
  });

  test("is counted in health, which says who serves, and reflection lists the services", async () => {
    const health = async (service: string) =>
      (await unary(`127.0.0.1:${grpc.port}`, healthService.Check as never, { service })).status;
    expect(await health("")).toBe("SERVING");
    expect(await health("shop.v1.TransactionManager")).toBe("SERVING");
    // Nobody serves Quote.
    expect(await health("shop.v1.Products")).toBe("NOT_SERVING");
    const names = await reflected(grpc.port as number);
    expect(names).toEqual(expect.arrayContaining([...SERVED.keys()]));
  });

  test("goes on with its caller's trace, where traces are kept", async () => {
    const traced = open({ tracing: { enabled: true, exporter: null } as never });
    await traced.broker.start();
    const other = new GrpcClient(traced.grpc.port as number);
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await other.call(PLACE, {}, { token: keys.sign(), metadata: { traceparent } });
    expect(seen[0]).toMatchObject({ requestID: expect.stringContaining("0af7651916cd43dd"), tracing: true });
    other.close();
    await traced.broker.stop();
  });

  test("needs a port of its own: one that is taken fails the start, and the variable is named", async () => {
    const second = new Grpc(grpc.port as number);
    const middlewares = [second.middleware, ...(options.middlewares ?? [])];
    const other = new ServiceBroker({ ...options, logger: false, middlewares });
    for (const schema of standIns) other.createService(schema);
    await expect(other.start()).rejects.toThrow(`GRPC_PORT=${grpc.port}`);
    await other.stop();
  });

  test("that runs when the node stops is finished", async () => {
    const other = open();
    await other.broker.start();
    const late = new GrpcClient(other.grpc.port as number);
    get = () => {
      begun.push("get");
      return opened.promise.then(() => PRODUCT);
    };
    const reply = late.call(GET, { id: ID });
    await until("it is under way", () => begun.includes("get"));
    const stopped = other.broker.stop();
    opened.open();
    expect((await reply).status).toBe("OK");
    await stopped;
    expect((await late.call(LIST, {}, { deadlineMs: 500 })).status).toMatch(/UNAVAILABLE|DEADLINE_EXCEEDED/);
    late.close();
  });
});

function unary(
  address: string,
  method: { path: string; requestSerialize: never; responseDeserialize: never },
  request: object,
  channel: ChannelCredentials = credentials.createInsecure(),
): Promise<{ status: string }> {
  const client = new Client(address, channel, { "grpc.use_local_subchannel_pool": 1 });
  const answered = new Promise<{ status: string }>((resolve, reject) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new Metadata(),
      { deadline: Date.now() + 3_000 },
      (err, message) => (err ? reject(err) : resolve(message as never)),
    );
  });
  return answered.finally(() => client.close());
}

/** What a tool such as grpcurl asks for first. */
async function reflected(port: number): Promise<string[]> {
  const { loadSync } = await import("@grpc/proto-loader");
  const file = new URL("./reflection.proto", import.meta.url).pathname;
  // biome-ignore lint/suspicious/noExplicitAny: what grpc-js makes of a contract has no type
  const { grpc } = loadPackageDefinition(loadSync(file)) as any;
  const client = new grpc.reflection.v1.ServerReflection(`127.0.0.1:${port}`, credentials.createInsecure());
  const stream = client.ServerReflectionInfo();
  const answer = new Promise<{ listServicesResponse: { service: { name: string }[] } }>((resolve, reject) => {
    stream.on("data", resolve);
    stream.on("error", reject);
  });
  stream.write({ listServices: "" });
  const { listServicesResponse } = await answer;
  stream.end();
  client.close();
  return listServicesResponse.service.map(({ name }) => name);
}
