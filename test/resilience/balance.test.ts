/** Who gets a call: spread, keys that stay, and what happens to them when nodes come, go or fail. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { type BrokerOptions, type Context, ServiceBroker, type ServiceSchema, Strategies } from "moleculer";
import { LeastRequestsStrategy, leastRequestsMiddleware } from "../../mixins/least.requests.strategy.ts";
import { RendezvousStrategy } from "../../mixins/rendezvous.strategy.ts";
import { TestGateway } from "../services/api/gateway.ts";
import { until } from "../support/until.ts";
import { errorOf, KINDS, Nodes, outcomesOf } from "./nodes.ts";

let nodes: Nodes | undefined;
afterEach(async () => {
  await nodes?.stop();
  nodes = undefined;
});

const KEYS = Array.from({ length: 10_000 }, (_, i) => `key-${i}`);
const KEYED = { strategy: RendezvousStrategy, preferLocal: false } as unknown as BrokerOptions["registry"];
const SHARD = {
  strategy: "Shard",
  strategyOptions: { shardKey: "id" },
} as unknown as BrokerOptions["registry"];

const endpoints = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    id: `host-${i}`,
    local: false,
    action: { name: "thing.get", key: "id" },
  }));

function placed(
  strategy: { select(list: unknown[], ctx: unknown): { id: string } },
  count: number,
): string[] {
  const list = endpoints(count);
  return KEYS.map((id) => strategy.select(list, { params: { id }, meta: {} }).id);
}

const moved = (before: string[], after: string[]): number =>
  before.filter((node, i) => node !== after[i]).length / before.length;

describe("a key's place", () => {
  const broker = new ServiceBroker({ logger: false });
  const fresh = {
    framework: () =>
      new Strategies.Shard(broker.registry, broker, { shardKey: "id", vnodes: 10 } as never) as never,
    shop: () => new RendezvousStrategy(broker.registry, broker, {}) as never,
  };

  test.each(KINDS)("changes for few when a node joins: %s", (kind) => {
    for (const count of [3, 10]) {
      const share = moved(placed(fresh[kind](), count), placed(fresh[kind](), count + 1));
      const ideal = 1 / (count + 1);
      if (kind === "framework") expect(share).toBeGreaterThan(1.3 * ideal);
      else expect(Math.abs(share - ideal)).toBeLessThan(0.02);
    }
  });

  test("is taken by each node alike, within a tenth", () => {
    for (const count of [2, 3, 7]) {
      const counts = Map.groupBy(placed(fresh.shop(), count), (node) => node);
      expect(counts.size).toBe(count);
      for (const group of counts.values())
        expect(Math.abs((group.length * count) / KEYS.length - 1)).toBeLessThan(0.1);
    }
  });

  test.each(KINDS)("is another node's while its own is left out: %s", (kind) => {
    const strategy: { select(list: unknown[], ctx: unknown): { id: string } | undefined } = fresh[kind]();
    const all = endpoints(3);
    const own = strategy.select(all, { params: { id: "a" }, meta: {} })?.id;
    const rest = all.filter(({ id }) => id !== own);
    // The framework's names the node that was left out, and the call throws "invalid endpoint".
    const found = strategy.select(rest, { params: { id: "a" }, meta: {} });
    if (kind === "framework") expect(found).toBeUndefined();
    else expect(rest).toContain(found);
  });
});

const thing = (seen: Map<string, string[]>): ServiceSchema => ({
  name: "thing",
  settings: { rest: "/" } as never,
  actions: {
    get: {
      rest: "GET /things/:id",
      auth: "none",
      key: "id",
      handler(ctx: Context<{ id: string }>) {
        const at = ctx.broker.nodeID;
        seen.set(ctx.params.id, [...(seen.get(ctx.params.id) ?? []), at]);
        return { at };
      },
    },
    any: (ctx: Context) => ctx.broker.nodeID,
  },
});

describe("calls that name a key", () => {
  test.each(KINDS)("go to its place, also where this node could answer them: %s", async (kind) => {
    nodes = new Nodes(kind);
    const seen = new Map<string, string[]>();
    const registry = kind === "framework" ? SHARD : KEYED;
    const one = await nodes.open("one", [thing(seen)], { registry });
    await nodes.open("two", [thing(seen)], { registry });
    const at = await Promise.all(
      KEYS.slice(0, 200).map((id) => one.call<{ at: string }, object>("thing.get", { id })),
    );
    const remote = at.filter((answer) => answer.at === "two").length;
    // preferLocal, which is on by default, goes before any strategy.
    if (kind === "framework") expect(remote).toBe(0);
    else expect(Math.abs(remote - 100)).toBeLessThan(40);
    // Without a key, this node does what it can do itself.
    if (kind === "shop") for (let i = 0; i < 10; i++) expect(await one.call("thing.any")).toBe("one");
  });

  test("come from the gateway to the same node each time", async () => {
    nodes = new Nodes("shop");
    const seen = new Map<string, string[]>();
    const gateway = new TestGateway([], {}, {
      namespace: nodes.namespace,
      transporter: "Fake",
      registry: KEYED,
    } as BrokerOptions);
    await gateway.broker.start();
    try {
      await nodes.open("one", [thing(seen)]);
      await nodes.open("two", [thing(seen)]);
      const ids = Array.from({ length: 10 }, (_, i) => `01900000-0000-7000-8000-00000000000${i}`);
      for (let round = 0; round < 3; round++)
        for (const id of ids) expect((await gateway.send(`/things/${id}`)).status).toBe(200);
      for (const id of ids) expect(new Set(seen.get(id)).size).toBe(1);
      expect(new Set([...seen.values()].flat()).size).toBe(2);
    } finally {
      await gateway.broker.stop();
    }
  });
});

type Errors = Record<string, { code: number; type: string }>;

/** Answers at once, when the test says so, or with the error that it has for the node. */
function slow(waiting: Map<string, (() => void)[]>, errors: Errors): ServiceSchema {
  return {
    name: "slow",
    actions: {
      ask(ctx: Context<{ isHeld: boolean }>) {
        const at = ctx.broker.nodeID;
        if (errors[at]) throw errorOf(errors[at]);
        if (!ctx.params.isHeld) return at;
        return new Promise((resolve) => waiting.get(at)?.push(() => resolve(at)));
      },
    },
  };
}

describe("calls where the fewest answers are owed", () => {
  const LEAST = {
    registry: { strategy: LeastRequestsStrategy, preferLocal: true } as unknown as BrokerOptions["registry"],
    middlewares: [leastRequestsMiddleware] as never,
  };

  async function three(errors: Errors = {}) {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", [], LEAST);
    const waiting = new Map<string, (() => void)[]>();
    for (const id of ["one", "two", "three"]) {
      waiting.set(id, []);
      await nodes.open(id, [slow(waiting, errors)], { circuitBreaker: { enabled: false } as never });
    }
    const ask = (isHeld = false) => caller.call<string, object>("slow.ask", { isHeld });
    const asked = async (times: number) => {
      const counts: Record<string, number> = {};
      for (let i = 0; i < times; i++) {
        const at = await ask().catch((err) => err.type);
        counts[at] = (counts[at] ?? 0) + 1;
      }
      return counts;
    };
    return { caller, ask, asked, waiting };
  }

  test("go round where all are equal", async () => {
    const { asked } = await three();
    expect(await asked(300)).toEqual({ one: 100, two: 100, three: 100 });
  });

  test("go around a node that does not answer, and back to it when it has", async () => {
    const { ask, asked, waiting } = await three();
    const held = [ask(true), ask(true), ask(true), ask(true)];
    await nodes?.settle();
    const owing = [...waiting].filter(([, calls]) => calls.length > 0).map(([id]) => id);
    expect(owing).toHaveLength(3);
    for (const id of ["one", "two"]) for (const answer of waiting.get(id) ?? []) answer();
    await nodes?.settle();
    expect(await asked(100)).toEqual({ one: 50, two: 50 });
    for (const answer of waiting.get("three") ?? []) answer();
    await Promise.all(held);
    expect(await asked(300)).toEqual({ one: 100, two: 100, three: 100 });
  });

  test("are shared alike, also by calls that come in pairs", async () => {
    const { ask } = await three();
    const counts: Record<string, number> = {};
    for (let i = 0; i < 150; i++)
      for (const at of await Promise.all([ask(), ask()])) counts[at] = (counts[at] ?? 0) + 1;
    expect(counts).toEqual({ one: 100, two: 100, three: 100 });
  });

  test.each([
    ["refuses", { code: 503, type: "unavailable" }],
    ["does not know the action any more", { code: 404, type: "SERVICE_NOT_FOUND" }],
  ])("are no reward for a node that %s at once", async (_, error) => {
    const { ask } = await three({ two: error });
    // The others hold some: what is refused at once owes nothing.
    for (let i = 0; i < 6; i++) void ask(true).catch(() => undefined);
    await nodes?.settle();
    const outcomes = await outcomesOf(100, () => ask());
    expect(outcomes[error.type]).toBeLessThan(10);
  });

  test("do not count as owed what was given up", async () => {
    const { caller, asked } = await three();
    const given = () => caller.call("slow.ask", { isHeld: true }, { timeout: 20 });
    expect(await outcomesOf(1, given)).toEqual({ REQUEST_TIMEOUT: 1 });
    expect(Object.keys(await asked(10))).toHaveLength(2);
    await until("all three are asked again", async () => Object.keys(await asked(3)).length === 3);
  });

  test("count what is the client's mistake as an answer", async () => {
    const { asked } = await three({ two: { code: 404, type: "not_found" } });
    expect(await asked(300)).toEqual({ one: 100, not_found: 100, three: 100 });
  });
});

describe("calls without a key", () => {
  test("are spread evenly over the nodes that can answer, round robin", async () => {
    nodes = new Nodes("shop");
    const caller = await nodes.open("caller", []);
    for (const id of ["one", "two", "three"]) await nodes.open(id, [thing(new Map())]);
    const counts = new Map<unknown, number>();
    for (let i = 0; i < 300; i++) {
      const at = await caller.call("thing.any");
      counts.set(at, (counts.get(at) ?? 0) + 1);
    }
    expect([...counts.values()]).toEqual([100, 100, 100]);
  });

  test("stay at home where home can answer: each order node prefers its own manager", async () => {
    nodes = new Nodes("shop");
    const manager: ServiceSchema = {
      name: "transaction-manager",
      actions: { run: (ctx) => ctx.broker.nodeID },
    };
    for (const registry of [{ preferLocal: true }, KEYED] as BrokerOptions["registry"][]) {
      const one = await nodes.open("one", [manager], { registry: registry as never });
      const two = await nodes.open("two", [manager], { registry: registry as never });
      for (let i = 0; i < 10; i++) {
        expect(await one.call("transaction-manager.run")).toBe("one");
        expect(await two.call("transaction-manager.run")).toBe("two");
      }
      await nodes.stop();
    }
  });
});
