import { expect, test } from "@jest/globals";
import { ServiceBroker } from "moleculer";
import { OTLP_EXPORTER } from "../../mixins/otlp.exporter.ts";
import { freePort } from "../../scripts/ports.ts";

test("a collector that is away costs its traces, and neither an answer nor a stop", async () => {
  const endpoint = `http://127.0.0.1:${await freePort()}`;
  const warnings: string[] = [];
  const logger = { type: "Console", options: {} };
  const broker = new ServiceBroker({
    logger,
    logLevel: { TRACER: "warn", "**": "fatal" },
    skipProcessEventRegistration: true,
    tracing: {
      enabled: true,
      exporter: { type: OTLP_EXPORTER, options: { endpoint, namespace: "t" } as object },
    },
  });
  broker.tracer.logger.warn = (message: unknown) => warnings.push(String(message));
  broker.createService({ name: "mug", actions: { ask: () => "tea" } });
  await broker.start();
  for (let round = 0; round < 2_000; round++) expect(await broker.call("mug.ask")).toBe("tea");
  await broker.stop();
  expect(warnings[0]).toContain(`${endpoint} does not take spans`);
  // Said once, not for each batch.
  expect(warnings).toHaveLength(1);
});
