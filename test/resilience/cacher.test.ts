/** Caches, with a real Redis where it is about Redis: each scenario goes wrong with the framework's. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, expect, describe as plainDescribe, test } from "@jest/globals";
import { Redis } from "ioredis";
import { Cachers, type Context, ServiceBroker, type ServiceSchema } from "moleculer";
import { TcpProxy } from "../../bench/drills/proxy.ts";
import { keyWithCaller, RedisCacher } from "../../mixins/redis.cacher.ts";
import { SharedRedis } from "../../mixins/redis.ts";
import { sharedThrottle } from "../../mixins/shared.throttle.ts";
import shopOptions from "../../moleculer.config.ts";
import { startRedis } from "../../scripts/servers/redis.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { memoryLimiter, sharedLimiter } from "../../services/api/rate-limit.ts";
import { describeWith } from "../harness/servers.ts";
import { until } from "../support/until.ts";
import { KINDS, type Kind } from "./nodes.ts";

const describe = await describeWith(startRedis);
const open: ServiceBroker[] = [];
afterEach(async () => {
  for (const broker of open.splice(0)) await broker.stop();
});

async function brokerWith(
  kind: Kind,
  cacher: unknown,
  services: ServiceSchema[],
  options = {},
): Promise<ServiceBroker> {
  const broker = new ServiceBroker({
    ...(kind === "shop" ? shopOptions : {}),
    namespace: `test-${Math.random().toString(36).slice(2)}`,
    logger: false,
    cacher: cacher as never,
    registry: { stopDelay: 0 },
    ...options,
  });
  for (const service of services) broker.createService(service);
  open.push(broker);
  await broker.start();
  return broker;
}

const quiet = { warn: () => undefined, info: () => undefined };

plainDescribe("a cached answer", () => {
  const secrets = (hits: { count: number }): ServiceSchema => ({
    name: "secret",
    hooks: {
      before: {
        get(ctx: Context<unknown, { user?: { id: string } }>) {
          if (!ctx.meta.user) throw new Error("log in");
        },
      },
    },
    actions: {
      get: {
        cache: true,
        params: { id: { type: "number", convert: true } },
        handler(ctx: Context<unknown, { user: { id: string } }>) {
          hits.count++;
          return { of: ctx.meta.user.id };
        },
      },
    },
  });
  const memory = (kind: Kind) =>
    kind === "shop" ? { type: "MemoryLRU", options: { keygen: keyWithCaller } } : "MemoryLRU";
  const as = (id: string) => ({ meta: { user: { id, roles: ["user"] } } });

  test.each(KINDS)("is not given to whom the action refuses: %s", async (kind) => {
    const broker = await brokerWith(kind, memory(kind), [secrets({ count: 0 })]);
    await broker.call("secret.get", { id: 1 }, as("ann"));
    const anonymous = broker.call("secret.get", { id: 1 });
    if (kind === "framework") expect(await anonymous).toEqual({ of: "ann" });
    else await expect(anonymous).rejects.toThrow("log in");
  });

  test.each(KINDS)("is not given to somebody else: %s", async (kind) => {
    const broker = await brokerWith(kind, memory(kind), [secrets({ count: 0 })]);
    await broker.call("secret.get", { id: 1 }, as("ann"));
    expect(await broker.call("secret.get", { id: 1 }, as("bob"))).toEqual({
      of: kind === "framework" ? "ann" : "bob",
    });
  });

  test('is found by what was validated, so that 1 and "1" are one', async () => {
    const hits = { count: 0 };
    const broker = await brokerWith("shop", memory("shop"), [secrets(hits)]);
    for (const id of [1, "1"]) await broker.call("secret.get", { id }, as("ann"));
    expect(hits.count).toBe(1);
  });
});

describe("Redis", () => {
  let redis: Server;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  const cacherOf = (kind: Kind, url = redis.url) =>
    kind === "shop" ? new RedisCacher(url, 30) : new Cachers.Redis(url as never);
  const counter = (hits: { count: number }, cache: unknown = true): ServiceSchema => ({
    name: "thing",
    actions: { get: { cache: cache as true, handler: () => ({ times: ++hits.count }) } },
  });
  const ready = (broker: ServiceBroker) => until("Redis is ready", () => broker.cacher?.connected === true);

  test.each(KINDS)("that is full does not end the process: %s", async (kind) => {
    const file = new URL("./redis.node.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [file, kind, redis.url], { stdio: ["ignore", "pipe", "ignore"] });
    let said = "";
    child.stdout.on("data", (data) => {
      said += data;
    });
    const [code] = await once(child, "close");
    // The next one must find it as it was.
    const admin = new Redis(redis.url);
    await admin.config("SET", "maxmemory", "0");
    admin.disconnect();
    if (kind === "framework") expect({ code, said }).toEqual({ code: 1, said: "" });
    else expect({ code, said }).toEqual({ code: 0, said: 'still serves {"name":"cup"}\n' });
  });

  test("that has vanished without an end is connected to anew", async () => {
    const { hostname: host, port } = new URL(redis.url);
    const proxy = await TcpProxy.listen({ target: { host, port: Number(port) }, nameOf: () => "redis" });
    const broker = await brokerWith("shop", cacherOf("shop", `redis://127.0.0.1:${proxy.port}`), [
      counter({ count: 0 }),
    ]);
    await ready(broker);
    proxy.abandon();
    expect(await broker.call("thing.get")).toEqual({ times: 1 });
    expect(broker.cacher?.connected).toBe(false);
    await ready(broker);
    await broker.stop();
    await proxy.close();
  });

  test.each(KINDS)("that is paused costs a moment, and not the call: %s", async (kind) => {
    const hits = { count: 0 };
    const broker = await brokerWith(kind, cacherOf(kind), [counter(hits)], { requestTimeout: 2_000 });
    await ready(broker);
    await broker.call("thing.get");
    process.kill(redis.pid as number, "SIGSTOP");
    try {
      if (kind === "framework") {
        await expect(broker.call("thing.get")).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
      } else {
        expect(await broker.call("thing.get")).toEqual({ times: 2 });
        const startedAt = performance.now();
        for (let i = 0; i < 10; i++) await broker.call("thing.get");
        expect(performance.now() - startedAt).toBeLessThan(200);
        expect(hits.count).toBe(12);
      }
    } finally {
      process.kill(redis.pid as number, "SIGCONT");
    }
    if (kind === "shop") {
      await ready(broker);
      const { times } = await broker.call<{ times: number }>("thing.get");
      expect(times).toBeLessThanOrEqual(13);
    }
  });

  test("that dies and returns is done without, and used again", async () => {
    const own = await startRedis();
    const hits = { count: 0 };
    const broker = await brokerWith("shop", cacherOf("shop", own.url), [counter(hits)]);
    await ready(broker);
    await broker.call("thing.get");
    expect(await broker.call("thing.get")).toEqual({ times: 1 });
    await own.stop();
    await until("it is missed", () => broker.cacher?.connected === false);
    expect(await broker.call("thing.get")).toEqual({ times: 2 });
    const again = await startRedis({ port: own.port });
    await ready(broker);
    await broker.call("thing.get");
    expect(await broker.call("thing.get")).toEqual({ times: 3 });
    await again.stop();
  });

  test.each(KINDS)("with a stale time lets a miss through to the handler: %s", async (kind) => {
    const hits = { count: 0 };
    const lock = { enabled: true, staleTime: 1 };
    const broker = await brokerWith(kind, cacherOf(kind), [counter(hits, { ttl: 30, lock })]);
    await ready(broker);
    expect(await broker.call("thing.get")).toEqual(kind === "framework" ? null : { times: 1 });
  });

  test("counts failed logins for all replicas together, and each for itself while it is away", async () => {
    const own = await startRedis();
    const connections = [new SharedRedis(own.url, quiet), new SharedRedis(own.url, quiet)];
    const [one, two] = connections.map((each) => sharedThrottle(each, "test:")) as [
      ReturnType<typeof sharedThrottle>,
      ReturnType<typeof sharedThrottle>,
    ];
    try {
      for (const each of connections)
        await until("it is connected", () => each.ask(async (client) => (await client.ping()) === "PONG"));
      const begin = (at: typeof one) => at.begin("a@example.com", "192.0.2.1");
      const attempts = [];
      for (let i = 0; i < 5; i++) attempts.push(await begin(one), await begin(two));
      for (const attempt of attempts) {
        for (const each of [one, two]) expect(await begin(each)).toEqual({ retryAfter: 0 });
        if ("failed" in attempt) await attempt.failed();
      }
      for (const each of [one, two]) expect(await begin(each)).toEqual({ retryAfter: 900 });
      expect(await one.begin("b@example.com", "192.0.2.1")).not.toHaveProperty("retryAfter");
      const cancelled = await one.begin("c@example.com", "192.0.2.1");
      const all = await Promise.all(
        Array.from({ length: 100 }, () => two.begin("c@example.com", "192.0.2.1")),
      );
      expect(all.filter((attempt) => !("retryAfter" in attempt))).toHaveLength(9);
      if ("cancelled" in cancelled) await cancelled.cancelled();
      const last = await two.begin("c@example.com", "192.0.2.1");
      expect(last).not.toHaveProperty("retryAfter");
      if ("succeeded" in last) await last.succeeded();
      expect(await one.begin("c@example.com", "192.0.2.1")).not.toHaveProperty("retryAfter");
      await own.stop();
      const alone = await Promise.all(Array.from({ length: 20 }, () => begin(one)));
      expect(alone.filter((attempt) => "retryAfter" in attempt)).toHaveLength(10);
    } finally {
      for (const each of connections) each.close();
      await own.stop();
    }
  });

  test("limits the requests of a client over all gateways together", async () => {
    const connections = [new SharedRedis(redis.url, quiet), new SharedRedis(redis.url, quiet)];
    try {
      for (const each of connections)
        await until("it is connected", () => each.ask(async (client) => (await client.ping()) === "PONG"));
      const limit = { requests: 10, seconds: 60 };
      const gateways = connections.map((each) => sharedLimiter(limit, each, "test:"));
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) => gateways[i % 2]?.take("192.0.2.7")),
      );
      expect(answers.filter((wait) => wait === undefined)).toHaveLength(10);
      for (const wait of answers.filter((each) => each !== undefined)) expect(wait).toBeLessThanOrEqual(6);
    } finally {
      for (const each of connections) each.close();
    }
  });
});

plainDescribe("a rate limit in memory", () => {
  test("lets a burst of the allowance through, and then one each time a place is free again", async () => {
    let now = 1_700_000_000_000;
    const limiter = memoryLimiter({ requests: 3, seconds: 30 }, () => now);
    const take = () => limiter.take("192.0.2.1");
    for (let i = 0; i < 3; i++) expect(await take()).toBeUndefined();
    expect(await take()).toBe(10);
    expect(await limiter.take("192.0.2.2")).toBeUndefined();
    now += 9_000;
    expect(await take()).toBe(1);
    now += 1_000;
    expect(await take()).toBeUndefined();
    expect(await take()).toBe(10);
    now += 3_600_000;
    for (let i = 0; i < 3; i++) expect(await take()).toBeUndefined();
    expect(await take()).toBe(10);
  });
});
