/** Streams between nodes on a real NATS server: what they carry, and what happens to calls when they break. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { ChannelCredentials, Client, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "@jest/globals";
import { newId } from "../../../lib/ids.ts";
import { definitionOf } from "../../../proto/contract.ts";
import { startNats } from "../../../scripts/servers/nats.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import { describeWith } from "../../harness/servers.ts";
import { until } from "../../support/until.ts";
import { openPeer, type Peer } from "./peer.ts";
import { type Direction, PortProxy } from "./port.proxy.ts";

const describe = await describeWith(startNats);

describe("a call to another node", () => {
  let nats: Server;
  let namespace: string;
  let proxy: PortProxy;
  let caller: Peer;
  let host: Peer;
  const children = new Set<ChildProcess>();

  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats.stop());

  beforeEach(async () => {
    namespace = `test-${Math.random().toString(36).slice(2)}`;
    proxy = new PortProxy();
    caller = openPeer({ url: nats.url, namespace, nodeID: "caller", hosts: false });
    const behindProxy = {
      name: "Proxied",
      async starting(broker: { metadata: { grpcPort: number } }) {
        broker.metadata.grpcPort = await proxy.open(broker.metadata.grpcPort);
      },
    };
    const middlewares = [behindProxy as never];
    host = openPeer({ url: nats.url, namespace, nodeID: "host", hosts: true, middlewares });
    await Promise.all([caller.broker.start(), host.broker.start()]);
    await until("it is seen", () => caller.broker.registry.hasService("remote", "host"));
  });
  afterEach(async () => {
    for (const child of children) {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    }
    children.clear();
    await Promise.all([caller.broker.stop(), host.broker.stop()]);
    proxy.close();
  });

  const carried = () => caller.grpc.peers?.carried ?? 0;
  const call = (action: string, params: object = {}, opts: object = {}) =>
    caller.broker.call<unknown, object>(`remote.${action}`, params, opts);

  /** Calls until one went over the stream to `nodeID`. */
  const streamTo = (nodeID: string) =>
    until("a stream carries calls", async () => {
      const before = carried();
      await call("nothing", {}, { nodeID });
      return carried() > before;
    });

  async function startChild(nodeID: string): Promise<ChildProcess> {
    const file = new URL("./peer.node.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [file, nats.url, namespace, nodeID], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, GRPC_PORT: "0" },
    });
    children.add(child);
    await once(child.stdout, "data");
    child.stdout.destroy();
    await until("it is seen", () => caller.broker.registry.hasService("remote", nodeID));
    return child;
  }

  it("is the same over the stream as over NATS: params, meta, caller, faults, errors, nothing", async () => {
    const answers = async () => {
      const meta: Record<string, unknown> = { user: { id: "u" }, $word: "é" };
      const headers = { word: "é" };
      const echo = await call("echo", { a: [1, null, "é"] }, { meta, headers, requestID: "r-1" });
      const settled = await Promise.allSettled([call("nothing"), call("strict", { id: "x" }), call("fail")]);
      return JSON.parse(
        JSON.stringify({
          echo,
          meta,
          settled: settled.map((each) => {
            if (each.status === "fulfilled") return { value: each.value ?? null };
            const { name, message, code, type, data, retryable, nodeID } = each.reason;
            return { name, message, code, type, data, retryable, nodeID };
          }),
        }),
      );
    };
    const overNats = await answers();
    await streamTo("host");
    const before = carried();
    expect(await answers()).toEqual(overNats);
    expect(carried()).toBe(before + 4);
    expect(overNats).toMatchObject({
      echo: { from: "caller", params: { a: [1, null, "é"] }, requestID: "r-1", headers: { word: "é" } },
      meta: { left: "host" },
      settled: [{ value: null }, { type: "VALIDATION_ERROR" }, { type: "NO_MUGS", data: { left: 0 } }],
    });
  });

  it("is the same over the stream where it is large, from the first such call on", async () => {
    await streamTo("host");
    const lines = Array.from({ length: 500 }, (_, i) => ({ id: i, text: `größer ${i}` }));
    const large = { missing: undefined, at: new Date(0), lines };
    for (let i = 0; i < 3; i++) {
      const before = carried();
      const { params } = (await call("echo", large, { nodeID: "host" })) as { params: object };
      expect(carried()).toBe(before + 1);
      expect(params).toEqual(JSON.parse(JSON.stringify(large)));
      // What is undefined is there where it was packed both ways: from the second time on.
      expect("missing" in params).toBe(i > 0);
    }
  });

  it("whose answer cannot be carried is told so, and its node goes on", async () => {
    await streamTo("host");
    const before = carried();
    await expect(call("unsayable", { where: "meta" })).rejects.toMatchObject({ name: "TypeError" });
    await expect(call("unsayable", { where: "data" })).rejects.toMatchObject({ type: "NO_NUMBERS" });
    await expect(call("nothing")).resolves.toBeUndefined();
    expect(carried()).toBe(before + 3);
  });

  it("goes over NATS while the stream is down, and over the stream again when it is back", async () => {
    await streamTo("host");
    proxy.isRefusing = true;
    proxy.cut();
    // Sent into the stream that is cut, or already beside it.
    await expect(call("stall", { at: "nobody" })).resolves.toBe("host");
    const before = carried();
    await expect(call("nothing")).resolves.toBeUndefined();
    expect(carried()).toBe(before);
    proxy.isRefusing = false;
    await streamTo("host");
  });

  it("whose stream breaks is repeated where the action is idempotent, and told where it is not", async () => {
    await streamTo("host");
    const stalled = call("stall", { at: "nobody" });
    await expect(stalled).resolves.toBe("host");
    const repeated = call("stall", { at: "host" }, { timeout: 2_000 });
    const once = call("once");
    once.catch(() => undefined);
    await until("both have begun", () => host.begun.includes("once") && host.begun.length === 3);
    proxy.cut();
    await expect(once).rejects.toMatchObject({ type: "REQUEST_REJECTED", retryable: false });
    await until("the other is repeated", () => host.begun.filter((name) => name === "stall").length === 3);
    await expect(repeated).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
    expect(host.begun.filter((name) => name === "once")).toEqual(["once"]);
  });

  it("survives the death of its node where it may be made again: another node answers", async () => {
    const child = await startChild("child");
    await streamTo("child");
    await streamTo("host");
    // Half of them stall at the child, and die with it.
    const answers = Array.from({ length: 10 }, () => call("stall", { at: "child" }));
    const before = carried();
    expect(before).toBeGreaterThan(0);
    const some = await Promise.race(answers);
    expect(some).toBe("host");
    child.kill("SIGKILL");
    expect(new Set(await Promise.all(answers))).toEqual(new Set(["host"]));
    for (let i = 0; i < 10; i++) await expect(call("stall", { at: "child" })).resolves.toBe("host");
  });

  it("does not wait for a node that falls silent behind its open stream: it is given up, and another answers", async () => {
    const child = await startChild("child");
    await streamTo("child");
    await streamTo("host");
    child.kill("SIGSTOP");
    const before = carried();
    const startedAt = performance.now();
    // Half of them go to the child; nothing else is under way to it, so only the streams know that it owes an answer.
    const answers = Array.from({ length: 4 }, () => call("stall", { at: "child" }, { timeout: 15_000 }));
    expect(carried()).toBe(before + 4);
    expect(new Set(await Promise.all(answers))).toEqual(new Set(["host"]));
    // Before the streams' own keepalive, and before a third of the time that each try has.
    expect(performance.now() - startedAt).toBeLessThan(4_900);
    child.kill("SIGCONT");
    await streamTo("child");
  });

  it("finds out that its node is silent where it waits for less long than that takes, too", async () => {
    const child = await startChild("child");
    await streamTo("child");
    child.kill("SIGSTOP");
    const startedAt = performance.now();
    const opts = { nodeID: "child", timeout: 700 };
    await Promise.allSettled([call("once", {}, opts), call("once", {}, opts)]);
    await until("it is given up", () => !caller.broker.registry.nodes.get("child")?.available);
    // Before a heartbeat is missed.
    expect(performance.now() - startedAt).toBeLessThan(6_000);
    child.kill("SIGCONT");
    await until("it is taken back", () => caller.broker.registry.hasService("remote", "child"));
  });

  it.each([[["up"]], [["down"]], [["up", "down"]]] as [Direction[]][])(
    "finds out that its stream is cut (%s) while its node is well, and takes the other way until it is whole",
    async (directions) => {
      await streamTo("host");
      proxy.freeze(...directions);
      const cutAt = performance.now();
      const lost = call("once", {}, { timeout: 5_000 });
      lost.catch(() => undefined);
      const repeated = call("stall", { at: "nobody" }, { timeout: 15_000 });
      await until("calls are answered beside the stream", async () => {
        const before = carried();
        const answer = call("nothing", {}, { timeout: 15_000 });
        if (carried() > before) return void answer.catch(() => undefined);
        await answer;
        return true;
      });
      expect(performance.now() - cutAt).toBeLessThan(1_500);
      await expect(repeated).resolves.toBe("host");
      await expect(lost).rejects.toMatchObject({ type: "REQUEST_REJECTED", retryable: false });
      // Before HTTP/2's keepalive, and early enough for another try within a client's patience.
      expect(performance.now() - cutAt).toBeLessThan(4_000);
      expect(caller.broker.registry.nodes.get("host")).toMatchObject({ available: true });
      proxy.thaw();
      await streamTo("host");
    },
  );

  it("is not late for long where its stream is: others take the other way until an echo is prompt again", async () => {
    await streamTo("host");
    proxy.delayMs = 1_000;
    const late = call("nothing");
    await until("calls are answered beside the stream", async () => {
      const before = carried();
      const answer = call("nothing");
      if (carried() > before) return void answer.catch(() => undefined);
      await answer;
      return true;
    });
    // Late is not lost: it was not given up, and no echo of the slow line is taken for a proof.
    await expect(late).resolves.toBeUndefined();
    const before = carried();
    const pingsBefore = proxy.passedUp;
    await until("some pings have come through", async () => {
      await call("nothing");
      return proxy.passedUp > pingsBefore + 2;
    });
    expect(carried()).toBe(before);
    proxy.delayMs = 0;
    await streamTo("host");
  });

  it("that its client gives up begins nothing more there", async () => {
    await streamTo("host");
    const root = new caller.broker.ContextFactory(caller.broker);
    const gone = new AbortController();
    root.locals.signal = gone.signal;
    const chain = root.call("remote.chain");
    chain.catch(() => undefined);
    await until("it has begun", () => host.begun.includes("chain"));
    gone.abort();
    // Frames keep their order: what answers this has read the cancellation.
    await call("nothing");
    host.broker.localBus.emit("test.go");
    await expect(chain).rejects.toMatchObject({ type: "REQUEST_SKIPPED" });
    expect(host.begun).toEqual(["chain"]);
    await expect(root.call("remote.nothing")).rejects.toMatchObject({ type: "REQUEST_SKIPPED" });
  });

  it("finds another way while the stream does not take more: a node that reads nothing holds up nobody", async () => {
    await streamTo("host");
    proxy.freeze("up", "down");
    const text = "x".repeat(100_000);
    const stuck: Promise<unknown>[] = [];
    await until("the stream is full", async () => {
      const before = carried();
      const answer = call("bytes", { text }, { timeout: 20_000 });
      if (carried() === before) return answer;
      stuck.push(answer);
      answer.catch(() => undefined);
      return false;
    });
    // What the kernel and HTTP/2 buffer is a few MB; beyond that nothing piles up here.
    expect(stuck.length).toBeLessThan(100);
    proxy.cut();
    proxy.thaw();
    await Promise.allSettled(stuck);
  });

  it("leaves a stream that has all the calls its node reads at once: none is taken for lost because echoes wait", async () => {
    await streamTo("host");
    const before = carried();
    const calls = Array.from({ length: 1_005 }, () => call("once", {}, { timeout: 3_000 }));
    expect(carried() - before).toBe(999);
    const types = (await Promise.allSettled(calls)).map(
      (each) => (each as PromiseRejectedResult).reason.type,
    );
    expect(new Set(types)).toEqual(new Set(["REQUEST_TIMEOUT"]));
  });

  it("is over for the stream, too, once it is given up: nothing is owed, and no stop waits for it", async () => {
    await streamTo("host");
    proxy.freeze("up", "down");
    const before = carried();
    const lost = call("once", {}, { timeout: 100 });
    expect(carried()).toBe(before + 1);
    expect([...(caller.grpc.peers?.owing() ?? [])]).toEqual(["host"]);
    await expect(lost).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
    expect([...(caller.grpc.peers?.owing() ?? [])]).toEqual([]);
    const { _trackedContexts } = caller.broker as unknown as { _trackedContexts: unknown[] };
    await until("the tracker lets go", () => _trackedContexts.length === 0);
    proxy.thaw();
  });

  it("is taken up by a node whose own breaker leaves its own action out", async () => {
    await streamTo("host");
    const endpoints = host.broker.registry.getActionEndpoints("remote.nothing") as unknown as {
      localEndpoints: { state: boolean }[];
    };
    for (const endpoint of endpoints.localEndpoints) endpoint.state = false;
    const before = carried();
    await expect(call("nothing")).resolves.toBeUndefined();
    expect(carried()).toBe(before + 1);
  });

  it("that does not fit a frame goes over NATS, which carries it in parts", async () => {
    await streamTo("host");
    await expect(call("bytes", { text: "x".repeat(900_000) })).resolves.toBe(900_000);
    const before = carried();
    await expect(call("bytes", { text: "x".repeat(2_000_000) })).resolves.toBe(2_000_000);
    expect(carried()).toBe(before);
  });

  it("is finished by a node that stops meanwhile, which takes no more", async () => {
    const child = openPeer({ url: nats.url, namespace, nodeID: "leaving", hosts: true });
    await child.broker.start();
    await until("it is seen", () => caller.broker.registry.hasService("remote", "leaving"));
    await streamTo("leaving");
    const last = call("chain", {}, { nodeID: "leaving" });
    await until("it has begun", () => child.begun.includes("chain"));
    const drained = child.grpc.drain();
    const before = carried();
    await expect(call("nothing", {}, { nodeID: "leaving" })).resolves.toBeUndefined();
    expect(carried()).toBeLessThanOrEqual(before + 1);
    child.broker.localBus.emit("test.go");
    await expect(last).resolves.toBeDefined();
    await drained;
    await child.broker.stop();
  });

  it("is refused to strangers, and a stream that loses a frame ends", async () => {
    const { Calls } = definitionOf("shop.v1.Peers");
    const knock = (token: string, ...frames: object[]) => {
      const client = new Client(`127.0.0.1:${host.grpc.port}`, ChannelCredentials.createInsecure(), {
        "grpc.use_local_subchannel_pool": 1,
      });
      const metadata = new Metadata();
      metadata.set("authorization", `Bearer ${token}`);
      const stream = client.makeBidiStreamRequest(
        Calls?.path as string,
        Calls?.requestSerialize as never,
        Calls?.responseDeserialize as never,
        metadata,
      );
      for (const frame of frames) stream.write({ frames: [frame] } as never);
      return new Promise<string | undefined>((resolve) =>
        stream.on("error", (err: ServiceError) => {
          client.close();
          resolve(status[err.code]);
        }),
      );
    };
    const { grpcToken } = host.broker.metadata as { grpcToken: string };
    expect(await knock(newId())).toBe("UNAUTHENTICATED");
    expect(await knock("")).toBe("UNAUTHENTICATED");
    expect(await knock(grpcToken, { seq: 1, cancel: 7 }, { seq: 3, cancel: 7 })).toBe("DATA_LOSS");
    // Many at once on one connection, which has its settings to be told but once.
    const crowd = new Client(`127.0.0.1:${host.grpc.port}`, ChannelCredentials.createInsecure());
    const refused = Array.from({ length: 50 }, () => {
      const stream = crowd.makeBidiStreamRequest(
        Calls?.path as string,
        Calls?.requestSerialize as never,
        Calls?.responseDeserialize as never,
        new Metadata(),
      );
      return new Promise((resolve) => stream.on("error", resolve));
    });
    await Promise.all(refused);
    crowd.close();
    await expect(call("nothing")).resolves.toBeUndefined();
  });
});
