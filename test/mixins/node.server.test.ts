/** The node server of a whole shop: what a kubelet and Prometheus would ask of it. */
import { once } from "node:events";
import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { Database } from "../../mixins/database.mixin.ts";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, Shopper } from "../support/client.ts";
import { until } from "../support/until.ts";

let shop: TestShop;
let url: string;

beforeAll(async () => {
  shop = await startTestShop({ env: { METRICS_PORT: "0" } });
  // After the harness has reset the module registry: the shop's own copy knows the port.
  const { nodeServerPort } = await import("../../mixins/node.server.ts");
  url = `http://127.0.0.1:${nodeServerPort(shop.broker)}`;
});
afterAll(() => shop?.stop());

const get = async (path: string): Promise<{ status: number; text: string }> => {
  const answer = await fetch(url + path, { headers: { connection: "close" } });
  return { status: answer.status, text: await answer.text() };
};

/** name{labels} → value; throws at a line that Prometheus could not read. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([a-z_]+(?:\{(?:[a-zA-Z_]+="(?:[^"\\\n]|\\.)*",?)*\})?) (NaN|[0-9.e+-]+)$/.exec(line);
    if (!match) throw new Error(`not a sample: ${line}`);
    samples.set(match[1] as string, Number(match[2]));
  }
  return samples;
}

test("after a purchase a scrape tells every metric that is declared, of the services that have it", async () => {
  const client = new Shopper(shop.url);
  const admin = await client.login(ADMIN.email, ADMIN.password);
  const ann = await client.register();
  const mug = await client.addProduct(admin, { name: "Mug", stock: 10 });
  expectStatus(await client.buy(ann, mug.id, { quantity: 1 }), 201);
  client.close();
  const samples = await until("the event is published", async () => {
    const { text } = await get("/metrics");
    const read = parse(text);
    return read.get('shop_outbox_unpublished_events{service="order"}') === 0 ? read : undefined;
  });
  const { METRICS } = await import("../../mixins/measures.ts");
  const told = new Set([...samples.keys()].map((key) => key.replace(/(_bucket|_sum|_count)?(\{.*)?$/, "")));
  expect(Object.keys(METRICS).filter((name) => !told.has(name))).toEqual([]);
  expect(samples.get('shop_transactions_total{service="transaction-manager",outcome="commit"}')).toBe(1);
  expect(samples.get('shop_mailbox_messages_total{service="product",mailbox="prepare"}')).toBe(1);
  expect(samples.get('shop_mailbox_batches_total{service="transaction-manager",mailbox="decide"}')).toBe(1);
  expect(samples.get("shop_node_ready")).toBe(1);
  expect(samples.get("shop_readings_failed_total")).toBe(0);
  for (const service of ["order", "product", "payment"])
    expect(samples.get(`shop_in_doubt_transactions{service="${service}"}`)).toBe(0);
  expect(samples.get('shop_calls_total{action="order.place",outcome="ok"}')).toBe(1);
  expect(samples.get('shop_call_seconds_bucket{action="order.place",le="+Inf"}')).toBe(1);
  expect(samples.get('shop_call_seconds_sum{action="order.place"}')).toBeGreaterThan(0);
});

test("a breaker is told with the node that it leaves out", async () => {
  const broker = shop.broker as { breakers?(): object[] };
  const { breakers } = broker;
  broker.breakers = () => [{ nodeID: "n-1", action: "order.place", state: "open", calls: 9, failures: 9 }];
  try {
    expect(
      parse((await get("/metrics")).text).get('shop_breaker_open{node="n-1",action="order.place"}'),
    ).toBe(1);
  } finally {
    broker.breakers = breakers;
  }
});

test("a node is live and ready, and ready no more once it is stopping", async () => {
  expect(await get("/health/live")).toMatchObject({ status: 200 });
  const ready = await get("/health/ready");
  expect(ready.status).toBe(200);
  expect(JSON.parse(ready.text)).toMatchObject({ status: "ready", checks: { node: "ok", order: "ok" } });
  shop.broker.started = false;
  try {
    expect((await get("/health/ready")).status).toBe(503);
    expect((await get("/health/live")).status).toBe(200);
  } finally {
    shop.broker.started = true;
  }
  expect((await get("/elsewhere")).status).toBe(404);
});

test("a node whose database does not answer is not ready, and can still be scraped", async () => {
  const { db } = shop.broker.getLocalService("order") as unknown as { db: Database };
  const { config } = await import("../../config/index.ts");
  const sleeping = Array.from({ length: config.databasePoolMax }, () =>
    db.query({ text: "select pg_sleep(60)" }).catch(() => undefined),
  );
  const { default: pg } = await import("pg");
  const operator = new pg.Client({ connectionString: shop.databases.urlOf("order") });
  await operator.connect();
  try {
    const [ready, metrics] = await Promise.all([get("/health/ready"), get("/metrics")]);
    expect(ready.status).toBe(503);
    expect(JSON.parse(ready.text).checks).toMatchObject({ order: "failing", product: "ok" });
    const samples = parse(metrics.text);
    expect(samples.get("shop_node_ready")).toBe(0);
    expect(samples.get("shop_readings_failed_total")).toBeGreaterThan(0);
    expect(samples.get('shop_pool_connections{service="order",state="busy"}')).toBe(config.databasePoolMax);
    expect(samples.get('shop_pool_waiting_queries{service="order"}')).toBeGreaterThan(0);
  } finally {
    await operator.query(
      "select pg_cancel_backend(pid) from pg_stat_activity where query = 'select pg_sleep(60)'",
    );
    await operator.end();
    await Promise.all(sleeping);
  }
  await until("the node is ready again", async () => (await get("/health/ready")).status === 200);
});

test("a port that is taken fails the start, and the message says which variable to change", async () => {
  const squatter = createServer().listen(0);
  await once(squatter, "listening");
  const { port } = squatter.address() as { port: number };
  try {
    const failure = await startTestShop({
      services: ["notification"],
      env: { METRICS_PORT: String(port) },
    }).then(
      (started) => started.stop(),
      (err: unknown) => err,
    );
    const { describe } = await import("../../scripts/describe.ts");
    // Node's own errors are of another realm than the test's.
    const message = describe(Object.assign(new Error("listen"), failure), 3000);
    expect(message).toContain(`port ${port} is taken`);
    expect(message).toContain("METRICS_PORT=");
  } finally {
    squatter.close();
    await once(squatter, "close");
  }
});
