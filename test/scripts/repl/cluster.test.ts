/** The console's commands about nodes, events and books, on a shop of two nodes. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { environmentName } from "../../../config/index.ts";
import { startNats } from "../../../scripts/servers/nats.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import type { Product } from "../../../services/product/api.ts";
import { cloneDatabases, DIRECTORY_VARIABLE, type TestDatabases } from "../../harness/databases.ts";
import { describeWith } from "../../harness/servers.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { Client } from "../../support/client.ts";
import { holdInquiries, leaveInDoubt } from "../../support/doubt.ts";
import { until } from "../../support/until.ts";
import { Console } from "./operator.ts";

const describe = await describeWith(startNats);

describe("an operator of a shop of two nodes", () => {
  let nats: Server;
  let databases: TestDatabases;
  let whole: TestShop;
  let second: TestShop;
  let mug: Product;
  let home: string;
  let operator: Console;
  beforeAll(async () => {
    nats = await startNats();
    databases = await cloneDatabases();
    home = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "home-"));
    const env = { TRANSPORTER: nats.url, NAMESPACE: path.basename(home) };
    whole = await startTestShop({ databases, env: { ...env, NODEID: "whole" } });
    second = await startTestShop({
      databases,
      services: ["product", "payment"],
      env: { ...env, NODEID: "second", SERVICES: "product,payment" },
    });
    mug = await whole.broker.call(
      "product.create",
      { sku: "MUG", name: "Mug", price: { amount: 990, currency: "EUR" }, stock: 100 },
      { meta: { user: { id: "00000000-0000-7000-8000-000000000000", roles: ["admin"] } } },
    );
    const urls = Object.entries(databases.urls).map(([name, url]) => [
      `DATABASE_URL_${environmentName(name)}`,
      url,
    ]);
    // In a node's container the console finds METRICS_PORT set, and the port taken.
    const taken = { METRICS_PORT: new URL(nats.url).port };
    operator = new Console("scripts/repl.ts", [], {
      ...env,
      ...taken,
      ...Object.fromEntries(urls),
      HOME: home,
    });
    await operator.until(/\$ $/);
  }, 60_000);
  afterAll(async () => {
    await operator.kill();
    await second.stop();
    await whole.stop();
    await nats.stop();
    await databases.drop();
    await rm(home, { recursive: true });
  });

  test("lists the nodes, and calls an action", async () => {
    expect(await operator.type("nodes", /second/)).toContain("whole");
    expect(await operator.type(`call product.get --id ${mug.id}`, /sku/)).toContain("MUG");
    const shown = await operator.type("cluster", /whole .*\n/);
    expect(shown).toMatch(/second +\d+ +ready +(product payment|payment product) +\S/);
    expect(shown).toMatch(/whole +\d+ +ready +.*transaction-manager/);
  });

  test("sees which breakers are not closed, and who holds them", async () => {
    expect(await operator.type("breakers", /every breaker of 3 node\(s\) is closed/)).toBeTruthy();
    second.broker.createService({
      name: "flaky",
      actions: {
        fail() {
          throw new Error("it is a test");
        },
      },
    });
    await whole.broker.waitForServices(["flaky"], 10_000, 10);
    await until("the breaker opens", async () => {
      await whole.broker.call("flaky.fail").catch(() => undefined);
      return whole.broker.breakers?.().some(({ state }) => state === "open");
    });
    expect(await operator.type("breakers", /flaky\.fail/)).toMatch(
      /whole +second +flaky\.fail +(open|half-open)/,
    );
    expect(await operator.type("cluster", /1 not closed/)).toBeTruthy();
    await second.broker.destroyService(second.broker.getLocalService("flaky"));
  });

  test("takes one service out of a node while it is used, and no request fails", async () => {
    expect(await operator.type("drain product", /say which/)).toMatch(/second, whole|whole, second/);
    const client = new Client(whole.url);
    const statuses: number[] = [];
    let isOver = false;
    const reading = (async () => {
      while (!isOver) statuses.push((await client.get(`/products/${mug.id}`)).status);
    })();
    await operator.type("drain whole product", /whole hosts product no more/);
    const before = statuses.length;
    await until("the other node has served some", () => statuses.length > before + 10);
    isOver = true;
    await reading;
    client.close();
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(await operator.type("cluster", /whole .*\n/)).not.toMatch(/whole .* product /);
    expect(await operator.type("drain product", /no other node hosts product.*--last/)).toBeTruthy();
  });

  test("sees events that wait, and for how long, and the books in order", async () => {
    expect(await operator.type("events lag", /notification +orders not taken +0/)).toMatch(
      /order +not published +0/,
    );
    await operator.type("drain notification --last", /hosts notification no more/);
    holdInquiries(whole.broker);
    const txId = await leaveInDoubt(whole.broker, mug, { quantity: 1 });
    await operator.type(`tx force ${txId} commit --reason "all have voted"`, /forced/);
    await until("the event waits", async () =>
      /it is away +1 +\d+ (ms|s)/.test(await operator.type("events lag", /it is away .*\n/)),
    );
    const books = await operator.type("shop audit", /I5 .*\n/);
    expect(books).toMatch(/I1 /);
  });

  test("takes a node out: it fails readiness, hosts nothing, and its process stays", async () => {
    await operator.type("drain second --last", /second hosts nothing any more/);
    const shown = await operator.type("cluster", /whole .*\n/);
    expect(shown).toMatch(/second +\d+ +not ready: node stopped/);
    expect(second.broker.services.map(({ name }) => name).filter((name) => !name.startsWith("$"))).toEqual([
      "node",
    ]);
  });

  test("hears of a mistake in one line", async () => {
    const lines: [string, RegExp][] = [
      ["drain", /drain NODE \[SERVICE\]/],
      ["drain third", /third is neither a node that hosts something nor a service/],
      ["drain whole cart", /whole does not host cart/],
      ["shop close", /there is: shop audit/],
    ];
    for (const [line, expected] of lines) await operator.type(line, expected);
    expect(operator.output).not.toMatch(/\n +at |node_modules/);
  });
});
