/** Nodes that come and go over a real NATS server, without a call that fails. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "@jest/globals";
import type { Context, ServiceSchema } from "moleculer";
import { NATS_TRANSPORTER } from "../../mixins/nats.transporter.ts";
import options from "../../moleculer.config.ts";
import { freePort } from "../../scripts/ports.ts";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { ShopBroker } from "../../scripts/shop.ts";
import { describeWith } from "../harness/servers.ts";
import { gate, until } from "../support/until.ts";

/** Longer than the framework waits between its farewell and its end. */
const LAG_MS = 250;

/** As a node whose event loop is busy: whatever it is sent, it reads later, in order. */
function slowDown(broker: ShopBroker): void {
  const transit = broker.transit as unknown as { messageHandler(...args: unknown[]): Promise<unknown> };
  const handle = transit.messageHandler.bind(transit);
  transit.messageHandler = async (...args) => {
    await sleep(LAG_MS);
    return handle(...args);
  };
  // What the message server says of a node that is gone comes over the same connection, after that node's last answers.
  const { nodes } = broker.registry;
  const disconnected = nodes.disconnected.bind(nodes);
  nodes.disconnected = (...args) => {
    void sleep(LAG_MS).then(() => disconnected(...args));
  };
}

const describe = await describeWith(startNats);

describe("a node of a shop", () => {
  let nats: Server;
  beforeAll(async () => {
    nats = await startNats();
  });
  afterAll(() => nats.stop());

  const open = (nodeID: string, services: ServiceSchema[], url = nats.url): ShopBroker => {
    const transporter = { type: NATS_TRANSPORTER, options: { url } };
    const broker = new ShopBroker({
      ...options,
      namespace: "coming-and-going",
      nodeID,
      logger: false,
      transporter,
    });
    for (const service of services) broker.createService(service);
    return broker;
  };

  const replica = (): ServiceSchema => ({
    name: "replica",
    actions: { work: ({ broker }: Context) => broker.nodeID },
  });

  it("is known to the others when it has started, and called by nobody when it has stopped", async () => {
    const caller = open("caller", []);
    slowDown(caller);
    await caller.start();
    const first = open("first", [replica()]);
    await first.start();
    expect(caller.registry.hasService("replica", "first")).toBe(true);

    let over = false;
    const seen = new Set<string>();
    const calls = Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!over) seen.add(await caller.call<string>("replica.work"));
      }),
    );
    const second = open("second", [replica()]);
    const third = open("third", [replica()]);
    try {
      await second.start();
      await until("it is called", () => seen.has("second"));
      await first.stop();
      await third.start();
      await until("it is called", () => seen.has("third"));
      await second.stop();
      over = true;
      await calls;
      expect([...seen].sort()).toEqual(["first", "second", "third"]);
    } finally {
      // Whatever failed: what would run for ever must not.
      over = true;
      await calls.catch(() => undefined);
      for (const broker of [third, caller]) await broker.stop();
    }
  });

  it("begins no mail any more as soon as it is told to stop, while its gateway still answers", async () => {
    const answered = gate();
    let isMailEnding = false;
    const draining = (name: string, drain: () => Promise<void>): ServiceSchema => ({
      name,
      methods: { drain },
    });
    const node = open("mailing", [
      draining("api", () => answered.promise),
      draining("notification", async () => {
        isMailEnding = true;
      }),
    ]);
    await node.start();
    const stopped = node.stop();
    try {
      await until("mail ends", () => isMailEnding, 5_000);
    } finally {
      answered.open();
      await stopped;
    }
  });

  it("gives up waiting for a message server when it is told to", async () => {
    const lonely = open("lonely", [], `nats://127.0.0.1:${await freePort()}`);
    const started = lonely.start();
    lonely.giveUpConnecting();
    await expect(started).rejects.toThrow(/stopped before the message server was reached/);
    await lonely.stop();
  });
});
