/**
 * One process of a fleet: the shop's real services of SERVICES over a real message server, with fault points around
 * them. It does what the test tells it over IPC, and ends when the test's process does.
 */
import { registerHooks } from "node:module";
import type { Context } from "moleculer";
import type { Garbage } from "../../../actors/transaction-manager/garbage.ts";
import { codeOf, ERRORS } from "../../../lib/errors.ts";
import { installClock, setClock } from "./clock.ts";
import { arm, callFaults, installStatementFaults } from "./faults.ts";
import type { Failed, FromNode, ToNode } from "./messages.ts";
import { bankAnswers } from "./remote-gateway.ts";

installClock();
setClock(Number(process.env.CLOCK_OFFSET_MS ?? 0));
installStatementFaults();
registerHooks({
  resolve: (specifier, context, next) =>
    next(
      specifier.endsWith("/gateways/simulated.ts")
        ? new URL("./remote-gateway.ts", import.meta.url).href
        : specifier,
      context,
    ),
});

// Not static: what they import must meet the hooks above.
const { createShop } = await import("../../../scripts/shop.ts");
const { default: options } = await import("../../../moleculer.config.ts");

const tell = (message: FromNode) => process.send?.(message);
const broker = await createShop({
  overrides: {
    middlewares: [...(options.middlewares ?? []), callFaults(() => broker)],
  },
});
process.on("message", (message: ToNode) => {
  if (message.what === "card") return bankAnswers(message);
  carryOut(message).then(
    (done) => tell({ what: "reply", id: message.id, ...done }),
    (err: Failed) =>
      tell({
        what: "reply",
        id: message.id,
        failed: { message: err.message, type: err.type ?? "", status: ERRORS[codeOf(err)].status },
      }),
  );
});
process.on("disconnect", () => process.kill(process.pid, "SIGKILL"));

// Read where a start takes too long: what it was doing.
console.error("its broker starts");
await broker.start();
console.error("it waits for the others");
await broker.waitForServices((process.env.NEEDS ?? "").split(",").filter(Boolean), 50_000, 10);
tell({ what: "ready" });

async function carryOut(
  order: Exclude<ToNode, { what: "card" }>,
): Promise<{ status?: number; value?: unknown }> {
  switch (order.what) {
    case "call": {
      const call = broker.call(order.action, order.params, {
        meta: order.meta,
        ...(order.nodeId === undefined ? {} : { nodeID: order.nodeId }),
      }) as Promise<unknown> & {
        ctx?: Context<object, { $statusCode?: number }>;
      };
      const value = await call;
      return {
        value,
        ...(call.ctx?.meta.$statusCode === undefined ? {} : { status: call.ctx.meta.$statusCode }),
      };
    }
    case "arm":
      arm(order.fault);
      return {};
    case "clock":
      setClock(order.offsetMs);
      return {};
    case "collect": {
      const manager = broker.getLocalService("transaction-manager") as unknown as { garbage: Garbage };
      await manager.garbage.tick();
      return {};
    }
    case "await":
      await broker.waitForServices(order.services, 20_000, 10);
      return {};
  }
}
