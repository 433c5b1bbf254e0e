/** Traps at the broker's edges that a setting, and no middleware, keeps us out of; each shown on the framework first. */
import { afterEach, describe, expect, test } from "@jest/globals";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import manager from "../../actors/transaction-manager/transaction-manager.service.ts";
import shopOptions from "../../moleculer.config.ts";
import gateway from "../../services/api/api.service.ts";
import auth from "../../services/auth/auth.service.ts";
import order from "../../services/order/order.service.ts";
import payment from "../../services/payment/payment.service.ts";
import product from "../../services/product/product.service.ts";
import { KINDS, type Kind, Nodes } from "./nodes.ts";

let nodes: Nodes;
afterEach(() => nodes?.stop());

const alone = (kind: Kind, services: ServiceSchema[]) => {
  nodes = new Nodes(kind);
  return nodes.open("one", services, { transporter: null });
};

describe("fields that no action declares", () => {
  test.each(KINDS)("are refused at every depth: %s", async (kind) => {
    const broker = await alone(kind, [
      {
        name: "thing",
        actions: {
          set: {
            params: { item: { type: "object", props: { id: "string" } } },
            handler: (ctx) => ctx.params,
          },
        },
      },
    ]);
    const call = broker.call("thing.set", { item: { id: "a", role: "admin" } });
    if (kind === "framework") expect(await call).toEqual({ item: { id: "a", role: "admin" } });
    else await expect(call).rejects.toMatchObject({ code: 422 });
  });
});

describe("a call chain without an end", () => {
  test.each(KINDS)("is cut: %s", async (kind) => {
    let depth = 0;
    const broker = await alone(kind, [
      {
        name: "loop",
        actions: {
          go: (ctx) => {
            depth++;
            return depth < 60 ? ctx.call("loop.go") : "no end";
          },
        },
      },
    ]);
    const call = broker.call("loop.go");
    if (kind === "framework") expect(await call).toBe("no end");
    else await expect(call).rejects.toMatchObject({ type: "MAX_CALL_LEVEL" });
  });
});

describe("what every node is told of the gateway", () => {
  test("holds none of its settings that are nobody else's business", async () => {
    const broker = new ServiceBroker({ ...shopOptions, logger: false });
    broker.createService(gateway);
    const [known] = broker.registry.getServiceList({}).filter(({ name }) => name === "api");
    const told = JSON.stringify(known?.settings ?? {});
    for (const secret of ["trustedProxies", "corsOrigins", "cacher", "rateLimit"])
      expect(told).not.toContain(secret);
    await broker.stop();
  });
});

describe("the checkout", () => {
  const actionsOf = (schema: ServiceSchema) => {
    const broker = new ServiceBroker({ ...shopOptions, logger: false });
    const service = broker.createService(schema);
    return (service.schema as ServiceSchema).actions as Record<
      string,
      { retry?: boolean; idempotent?: boolean; bulkhead?: { enabled: boolean }; cache?: unknown }
    >;
  };

  test("is repeated, held back, cached and limited by no middleware", () => {
    const path = [
      [order, ["place", "prepare", "commit", "abort"]],
      [product, ["prepare", "commit", "abort"]],
      [payment, ["prepare", "commit", "abort"]],
      [manager, ["run"]],
    ] as const;
    for (const [schema, names] of path)
      for (const name of names) {
        const action = actionsOf(schema as ServiceSchema)[name];
        expect({ name, retry: action?.retry }).toEqual({ name, retry: false });
        expect({ name, idempotent: action?.idempotent ?? false }).toEqual({ name, idempotent: false });
        expect(action).not.toHaveProperty("bulkhead");
        expect(action).not.toHaveProperty("cache");
      }
    for (const name of ["outcome"])
      expect(actionsOf(manager as ServiceSchema)[name]).not.toHaveProperty("bulkhead");
    expect(actionsOf(product as ServiceSchema).quote).not.toHaveProperty("bulkhead");
  });

  test("and a token's refresh, which is reuse the second time, is never idempotent", () => {
    expect(actionsOf(auth as ServiceSchema).refresh?.idempotent).toBeUndefined();
  });
});
