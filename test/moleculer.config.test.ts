import { expect, test } from "@jest/globals";
import { ServiceBroker } from "moleculer";
import { isFault } from "../mixins/breaker.middleware.ts";
import { LeastRequestsStrategy } from "../mixins/least.requests.strategy.ts";
import options from "../moleculer.config.ts";

test("the middleware stands in this order, innermost first, none of it twice", () => {
  const broker = new ServiceBroker({ ...options, logger: false });
  const names = (broker.middlewares as unknown as { list: { name: string }[] }).list.map(({ name }) => name);
  expect(names).toEqual([
    "ActionHook",
    "Validator",
    "Bulkhead",
    "ContextTracker",
    "Deadline",
    "Breaker",
    "LeastRequests",
    "ErrorHandler",
    "Tracing",
    "Metrics",
    "Repeat",
  ]);
});

/** What a shop cannot afford to have changed by a new default of the framework, or by an edit that meant well. */
test("the broker's effective options are those the shop stands on", () => {
  const broker = new ServiceBroker({ ...options, logger: false });
  expect(broker.options).toMatchObject({
    requestTimeout: 10_000,
    retryPolicy: { enabled: false },
    circuitBreaker: {
      enabled: true,
      threshold: 0.5,
      minRequestCount: 10,
      windowTime: 30,
      halfOpenTime: 2_000,
      timeoutsMax: 3,
      check: isFault,
    },
    bulkhead: { enabled: false },
    contextParamsCloning: false,
    maxCallLevel: 20,
    tracking: { enabled: true, shutdownTimeout: 15_000 },
    registry: { strategy: LeastRequestsStrategy, preferLocal: true, stopDelay: 100 },
    transit: { serviceChangedDebounceTime: 100 },
    heartbeatInterval: 3,
    heartbeatTimeout: 9,
    internalMiddlewares: false,
    metrics: false,
    tracing: false,
    skipProcessEventRegistration: true,
  });
});

test("params are strict at every depth", async () => {
  const broker = new ServiceBroker({ ...options, logger: false });
  broker.createService({
    name: "probe",
    actions: {
      ask: { params: { item: { type: "object", props: { id: "string" } } }, handler: () => "answered" },
    },
  });
  await broker.start();
  try {
    await expect(broker.call("probe.ask", { item: { id: "a" } })).resolves.toBe("answered");
    await expect(broker.call("probe.ask", { item: { id: "a", admin: true } })).rejects.toMatchObject({
      code: 422,
    });
    await expect(broker.call("probe.ask", { item: { id: "a" }, admin: true })).rejects.toMatchObject({
      code: 422,
    });
  } finally {
    await broker.stop();
  }
});
