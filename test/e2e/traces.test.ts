/** One order's trace, sent to a collector by two nodes over NATS: one tree, whatever batches it travelled in. */
import { once } from "node:events";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNats } from "../../scripts/servers/nats.ts";
import type { Server } from "../../scripts/servers/server.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { sharedKafka } from "../harness/kafka.ts";
import { describeWith } from "../harness/servers.ts";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, Shopper } from "../support/client.ts";
import { until } from "../support/until.ts";

interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: { stringValue?: string; doubleValue?: number } }[];
  /** Of the resource. */
  service: string;
}

/** What a collector would be: it takes OTLP/HTTP JSON and keeps it. */
class Collector {
  readonly spans: OtlpSpan[] = [];
  readonly faults: string[] = [];
  readonly #server: HttpServer;

  constructor() {
    this.#server = createServer(async (req, res) => {
      if (
        req.method !== "POST" ||
        req.url !== "/v1/traces" ||
        req.headers["content-type"] !== "application/json"
      )
        this.faults.push(`${req.method} ${req.url} ${req.headers["content-type"]}`);
      // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came
      const { resourceSpans } = (await json(req)) as any;
      for (const { resource, scopeSpans } of resourceSpans) {
        const service = resource.attributes.find(({ key }: { key: string }) => key === "service.name").value
          .stringValue;
        for (const { spans } of scopeSpans) for (const span of spans) this.spans.push({ ...span, service });
      }
      res.end("{}");
    });
  }

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

const describe = await describeWith(startNats);
const kafka = await sharedKafka();

describe("without Kafka", () => tracedShop(""));
describe("with Kafka", () => kafka.describe("a traced shop", () => tracedShop(kafka.brokers)));

function tracedShop(brokers: string): void {
  const collector = new Collector();
  let nats: Server;
  let databases: TestDatabases;
  const nodes: TestShop[] = [];
  let client: Shopper;

  beforeAll(async () => {
    nats = await startNats();
    databases = await cloneDatabases();
    const env = {
      TRANSPORTER: nats.url,
      NAMESPACE: `traces-${process.pid}-${brokers ? "kafka" : "pull"}`,
      KAFKA_BROKERS: brokers,
      OTEL_EXPORTER_OTLP_ENDPOINT: await collector.listen(),
      // The others make more noise than sense here.
      OTEL_TRACES_SAMPLER_ARG: "0",
    };
    nodes.push(await startTestShop({ services: ["api", "order", "transaction-manager"], databases, env }));
    nodes.push(
      await startTestShop({
        services: ["auth", "user", "product", "payment", "notification"],
        databases,
        env,
      }),
    );
    client = new Shopper((nodes[0] as TestShop).url);
    await until("both nodes know each other", async () => (await client.get("/health/ready")).status === 200);
  }, 60_000);
  afterAll(async () => {
    client?.close();
    for (const node of nodes) await node.stop();
    await databases?.drop();
    await nats?.stop();
    await collector.close();
  });

  test("every hop of two orders in the same batches is in the tree of its own order", async () => {
    const admin = await client.login(ADMIN.email, ADMIN.password);
    const ann = await client.register();
    const mug = await client.addProduct(admin, { name: "Mug", stock: 10 });
    const traces = ["a".repeat(32), "b".repeat(32)];
    const outside = "c".repeat(16);
    await Promise.all(
      traces.map(async (trace) => {
        const body = { items: [{ productId: mug.id, quantity: 1 }], payment: { token: "tok_ok" } };
        const headers = { traceparent: `00-${trace}-${outside}-01` };
        expectStatus(await client.send("POST", "/orders", { token: ann.token, headers, body }), 201);
      }),
    );
    const spansOf = (trace: string) => collector.spans.filter(({ traceId }) => traceId === trace);
    const HOPS = [
      ["api", "HTTP POST"],
      ["order", "order.place"],
      ["product", "product.quote"],
      ["transaction-manager", "transaction-manager.run"],
      ["transaction-manager", "decide"],
      ...["order", "product", "payment"].flatMap((participant) =>
        ["prepare", "commit"].flatMap((phase) => [
          ["transaction-manager", `tell ${participant}.${phase}`],
          [participant, `${participant}.${phase}`],
        ]),
      ),
      ...(brokers ? [["order", "publish"]] : []),
      ["notification", "order.confirmed.v1"],
    ].map(([service, name]) => `${service}: ${name}`);
    const seen = (trace: string) => new Set(spansOf(trace).map(({ service, name }) => `${service}: ${name}`));
    await until("all hops are at the collector", () =>
      traces.every((trace) => HOPS.every((hop) => seen(trace).has(hop))),
    ).catch(() => undefined);
    for (const trace of traces) {
      expect([...seen(trace)].sort()).toEqual([...HOPS].sort());
      const spans = spansOf(trace);
      const byId = new Map(spans.map((span) => [span.spanId, span]));
      expect(byId.size).toBe(spans.length);
      // One root, and that below the caller's span; everything else hangs in the tree.
      const roots = spans.filter(({ parentSpanId }) => !byId.has(parentSpanId ?? ""));
      expect(roots.map(({ name, parentSpanId }) => [name, parentSpanId])).toEqual([["HTTP POST", outside]]);
      const parentOf = (name: string) =>
        byId.get(spans.find((span) => span.name === name)?.parentSpanId as string)?.name;
      expect(parentOf("order.place")).toBe("HTTP POST");
      expect(parentOf("transaction-manager.run")).toBe("order.place");
      expect(parentOf("tell product.prepare")).toBe("transaction-manager.run");
      expect(parentOf("product.prepare")).toBe("tell product.prepare");
      expect(parentOf("decide")).toBe("transaction-manager.run");
      expect(parentOf("payment.commit")).toBe("tell payment.commit");
      if (brokers) expect(parentOf("publish")).toBe("order.commit");
      expect(parentOf("order.confirmed.v1")).toBe(brokers ? "publish" : "order.commit");
      for (const { startTimeUnixNano, endTimeUnixNano, spanId } of spans) {
        expect(BigInt(endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(startTimeUnixNano));
        expect(spanId).toMatch(/^[0-9a-f]{16}$/);
      }
    }
    expect(collector.faults).toEqual([]);
  });

  test("a caller that is not sampled leaves no span, and nothing private is in any", async () => {
    const trace = "d".repeat(32);
    const headers = { traceparent: `00-${trace}-${"e".repeat(16)}-00` };
    expectStatus(await client.send("GET", "/products", { headers }), 200);
    const [, login] = await Promise.all([
      client.send("GET", "/products?q=confidential", {
        headers: { traceparent: `00-${"f".repeat(32)}-${"e".repeat(16)}-01` },
      }),
      client.send("POST", "/login", {
        headers: { traceparent: `00-${"9".repeat(32)}-${"e".repeat(16)}-01` },
        body: { email: ADMIN.email, password: ADMIN.password },
      }),
    ]);
    expectStatus(login, 200);
    await until("the login is at the collector", () =>
      ["9", "f"].every((digit) =>
        collector.spans.some(({ traceId, name }) => traceId === digit.repeat(32) && name.startsWith("HTTP")),
      ),
    );
    expect(collector.spans.filter(({ traceId }) => traceId === trace)).toEqual([]);
    const all = JSON.stringify(collector.spans);
    for (const secret of ["confidential", ADMIN.password, ADMIN.email, "tok_ok", login.body.accessToken])
      expect(all.includes(secret)).toBe(false);
    const rest = collector.spans.find(
      ({ traceId, name }) => traceId === "f".repeat(32) && name.startsWith("HTTP"),
    );
    const attributes = Object.fromEntries(
      (rest as OtlpSpan).attributes.map(({ key, value }) => [key, value.stringValue ?? value.doubleValue]),
    );
    expect(attributes).toMatchObject({
      "http.request.method": "GET",
      "url.path": "/products",
      "http.response.status_code": 200,
    });
  });
}
