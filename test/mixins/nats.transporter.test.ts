/** Against a real NATS server. Each of these fails on the framework's own transporter, which notices none of it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "@jest/globals";
import { ServiceBroker, type Transit } from "moleculer";
import { NATS_TRANSPORTER, type NatsTransporter } from "../../mixins/nats.transporter.ts";
import { freePort } from "../../scripts/ports.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { describeWith } from "../harness/servers.ts";
import { until } from "../support/until.ts";

// Long enough that nothing below is found by a heartbeat.
const HEARTBEATS = { heartbeatInterval: 30, heartbeatTimeout: 60 };

const describe = await describeWith(startNats);

describe("a node on NATS", () => {
  let nats: Server;
  let broker: ServiceBroker;
  let heard: string[];
  const names = new Map<ChildProcess, string>();

  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats.stop());

  beforeEach(async () => {
    broker = open();
    heard = [];
    for (const event of ["$transporter.disconnected", "$transporter.connected", "$node.disconnected"])
      broker.localBus.on(event, () => heard.push(event));
    await broker.start();
    heard.length = 0;
  });
  afterEach(async () => {
    for (const child of names.keys()) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGKILL");
        await once(child, "exit");
      }
    }
    names.clear();
    await broker.stop();
  });

  function open(url = nats.url): ServiceBroker {
    return new ServiceBroker({
      namespace: `test-${Math.random().toString(36).slice(2)}`,
      logger: false,
      transporter: { type: NATS_TRANSPORTER, options: { url } },
      transit: { serviceChangedDebounceTime: 0 } as object,
      requestTimeout: 5_000,
      skipProcessEventRegistration: true,
      ...HEARTBEATS,
    });
  }

  /** A node whose name holds what a subject's token may not. */
  async function startNode(nodeID: string): Promise<ChildProcess> {
    const file = new URL("./nats.node.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [file, nats.url, broker.namespace, nodeID], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    names.set(child, nodeID);
    await once(child.stdout, "data");
    child.stdout.destroy();
    await until("its service is seen", () => broker.registry.hasService("remote", nodeID));
    return child;
  }

  /** Resolves when the NATS server has seen the end of its connection, which comes a moment after that of the process. */
  async function kill(child: ChildProcess): Promise<void> {
    child.kill("SIGKILL");
    await once(child, "exit");
    const { client } = (broker.transit as Transit).tx as unknown as NatsTransporter;
    const topic = `MOL-${broker.namespace}.REQ.${names.get(child)}`;
    await until("nobody listens", () =>
      client?.request(topic, "", { timeout: 200 }).then(
        () => false,
        (err: { code: string }) => err.code === "503",
      ),
    );
  }

  it("drops a killed node at the first call that reaches nobody, and says that the call was not delivered", async () => {
    const child = await startNode("host.example.com-1");
    await expect(broker.call("remote.ask")).resolves.toBe("host.example.com-1");
    await kill(child);
    const calledAt = performance.now();
    await expect(broker.call("remote.ask")).rejects.toMatchObject({
      type: "SERVICE_NOT_AVAILABLE",
      data: { nodeID: "host.example.com-1", action: "remote.ask" },
    });
    expect(performance.now() - calledAt).toBeLessThan(1_000);
    expect(heard).toContain("$node.disconnected");
    await expect(broker.call("remote.ask")).rejects.toMatchObject({ type: "SERVICE_NOT_AVAILABLE" });
    expect(broker.transit?.pendingRequests.size).toBe(0);
  });

  it("finds out that an answer will never come, long before the call's time-out", async () => {
    const child = await startNode("mute");
    const answer = broker.call("remote.never");
    answer.catch(() => undefined);
    await broker.call("remote.ask"); // answered after the other was taken up
    const killedAt = performance.now();
    child.kill("SIGKILL");
    await expect(answer).rejects.toMatchObject({ type: "REQUEST_REJECTED" });
    expect(performance.now() - killedAt).toBeLessThan(2_000);
  });

  it("goes on with the other replica, and takes the killed one back under its old name", async () => {
    const [first] = [await startNode("first"), await startNode("second")];
    await kill(first);
    const answers = await Promise.allSettled(Array.from({ length: 20 }, () => broker.call("remote.ask")));
    // Half of them had chosen the dead one before anything could be known.
    expect(answers.filter(({ status }) => status === "rejected").length).toBeLessThanOrEqual(10);
    for (let i = 0; i < 20; i++) await expect(broker.call("remote.ask")).resolves.toBe("second");
    await startNode("first");
    const seen = new Set(await Promise.all(Array.from({ length: 20 }, () => broker.call("remote.ask"))));
    expect([...seen].sort()).toEqual(["first", "second"]);
  });

  it("gives a paused node up long before the call's time-out, and takes it back when it is heard again", async () => {
    const child = await startNode("paused");
    const answer = broker.call("remote.never");
    answer.catch(() => undefined);
    await broker.call("remote.ask"); // answered after the other was taken up
    const pausedAt = performance.now();
    child.kill("SIGSTOP");
    await expect(answer).rejects.toMatchObject({ type: "REQUEST_REJECTED" });
    expect(performance.now() - pausedAt).toBeLessThan(4_000);
    await expect(broker.call("remote.ask")).rejects.toMatchObject({ type: "SERVICE_NOT_AVAILABLE" });
    child.kill("SIGCONT");
    // Heartbeats are half a minute apart here.
    await until("it is there again", () => broker.call("remote.ask").catch(() => false));
  });

  it("gives nobody up that works for long, or that nobody waits for", async () => {
    await startNode("busy");
    const answer = broker.call("remote.never", {}, { timeout: 3_500 });
    await expect(answer).rejects.toMatchObject({ type: "REQUEST_TIMEOUT" });
    expect(heard).not.toContain("$node.disconnected");
    await expect(broker.call("remote.ask")).resolves.toBe("busy");
  });

  it("notices that NATS is gone, fails calls at once, and heals by itself", async () => {
    await startNode("survivor");
    const { port } = nats;
    process.kill(nats.pid as number, "SIGKILL");
    await until("it is told", () => heard.includes("$transporter.disconnected"));
    expect(broker.transit?.connected).toBe(false);
    const calledAt = performance.now();
    await expect(broker.call("remote.ask")).rejects.toMatchObject({ name: "BrokerDisconnectedError" });
    expect(performance.now() - calledAt).toBeLessThan(1_000);
    expect(broker.transit?.pendingRequests.size).toBe(0);
    await nats.stop();
    nats = await startNats({ port });
    await until("it is connected again", () => heard.includes("$transporter.connected"));
    expect(broker.transit?.connected).toBe(true);
    await until("the other is there again", () => broker.call("remote.ask").catch(() => false));
  });

  it("comes back to a server that has refused it for a while", async () => {
    let isRefusing = false;
    let refusals = 0;
    const sockets = new Set<net.Socket>();
    // In front of the real one: what a server says whose settings are being changed.
    const front = net.createServer((from) => {
      const to = net.connect(Number(new URL(nats.url).port), new URL(nats.url).hostname);
      for (const socket of [from, to]) sockets.add(socket.on("error", () => undefined));
      to.pipe(from);
      if (!isRefusing) return void from.pipe(to);
      from.once("data", () => {
        refusals++;
        from.end("-ERR 'Authorization Violation'\r\n");
      });
    });
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    const refused = open(`nats://127.0.0.1:${(front.address() as net.AddressInfo).port}`);
    try {
      await refused.start();
      isRefusing = true;
      for (const socket of sockets) socket.destroy();
      await until("it has been refused more than once", () => refusals >= 3);
      isRefusing = false;
      await until("it is connected again", () => refused.transit?.connected);
    } finally {
      await refused.stop();
      for (const socket of sockets) socket.destroy();
      front.close();
    }
  });

  it("carries what is larger than NATS takes, both ways, and refuses what is absurd without keeping it", async () => {
    await startNode("echo");
    const text = "\u00e9".repeat(2_000_000);
    expect((await broker.call<string, object>("remote.echo", { text })) === text).toBe(true);
    const several = ["a", "b", "c"].map((letter) => letter.repeat(1_500_000));
    const answers = await Promise.all(several.map((each) => broker.call("remote.echo", { text: each })));
    expect(answers.map((answer, i) => answer === several[i])).toEqual([true, true, true]);
    await expect(broker.call("remote.echo", { text: "x".repeat(70_000_000) })).rejects.toThrow(
      /is not sent: at most/,
    );
    expect(broker.transit?.pendingRequests.size).toBe(0);
  });

  it("stops in time while NATS is away", async () => {
    const other = await startNats();
    const lonely = open(other.url);
    await lonely.start();
    process.kill(other.pid as number, "SIGKILL");
    await until("it is told", () => lonely.transit?.connected === false);
    const stoppedAt = performance.now();
    await lonely.stop();
    expect(performance.now() - stoppedAt).toBeLessThan(3_000);
    await other.stop();
  });

  it("waits for a server that starts later, and can be stopped while it waits", async () => {
    const port = await freePort();
    const early = open(`nats://127.0.0.1:${port}`);
    const started = early.start();
    const late = await startNats({ port });
    await started;
    expect(early.transit?.connected).toBe(true);
    await early.stop();
    await late.stop();
    const never = open(`nats://127.0.0.1:${port}`);
    void never.start();
    await never.stop();
  });
});
