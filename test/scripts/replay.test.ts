/** The sample order book, replayed twice against a shop of its own. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { audit } from "../../scripts/audit/audit.ts";
import { AcknowledgedFile } from "../../scripts/replay/acknowledged.ts";
import { type OrderBook, readOrderBook } from "../../scripts/replay/order-book.ts";
import { type ReplayOptions, replay } from "../../scripts/replay/replay.ts";
import { replayText } from "../../scripts/replay/report.ts";
import { ShopClient } from "../../scripts/replay/shop-client.ts";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { until } from "../support/until.ts";

const SAMPLE = fileURLToPath(new URL("../data/orders.sample.csv", import.meta.url));

let directory: string;
let book: OrderBook;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "replay-test-"));
  book = await readOrderBook(SAMPLE);
});
afterAll(() => rm(directory, { recursive: true }));

async function bookOf(rows: string): Promise<OrderBook> {
  const file = path.join(directory, "book.csv");
  await writeFile(
    file,
    `InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\n${rows}`,
    "latin1",
  );
  return readOrderBook(file);
}

describe("the order book", () => {
  test("is read with all its mess", () => {
    expect(book.rows).toBe(242);
    expect(book.invoices).toHaveLength(62);
    expect(book.products.size).toBe(29);
    expect([...book.products.keys()]).toEqual(expect.arrayContaining(["90500p", "90500P", "BANK CHARGES"]));
    expect([...book.products.values()].map((product) => product.name)).toEqual(
      expect.arrayContaining(["PAPER LANTERN, RED", 'CANDLE "LONG NIGHT"', "Gift Voucher £20.00"]),
    );
  });

  test("sells a code at its last price above zero, and stocks what can be bought", async () => {
    const { products, invoices } = await bookOf(
      `1,A,Ant,2,1.10,7,UK
1,A,Ant,3,1.15,7,UK
C2,A,Ant,-4,1.29,7,UK
3,A,Ant,5,0,7,UK
3,B,,1,0,,UK
3,A,Ant,x,1,7,UK
`,
    );
    expect([...products.values()]).toEqual([
      { sku: "A", name: "Ant", price: 129, unitsSold: 5 },
      { sku: "B", name: "B", price: undefined, unitsSold: 0 },
    ]);
    expect(invoices).toEqual([
      {
        number: "1",
        customer: "7",
        lines: [
          { sku: "A", quantity: 2 },
          { sku: "A", quantity: 3 },
        ],
        skipped: { returns: 0, zeroPrice: 0, unreadable: 0 },
      },
      { number: "C2", customer: "7", lines: [], skipped: { returns: 1, zeroPrice: 0, unreadable: 0 } },
      { number: "3", customer: "7", lines: [], skipped: { returns: 0, zeroPrice: 2, unreadable: 1 } },
    ]);
  });

  test("of another format is refused with what it lacks", async () => {
    const file = path.join(directory, "other.csv");
    await writeFile(file, "InvoiceNo,Quantity\n1,2\n");
    await expect(readOrderBook(file)).rejects.toThrow(
      /no column StockCode, Description, UnitPrice, CustomerID/,
    );
  });
});

describe("a replay", () => {
  let shop: TestShop;
  beforeAll(async () => {
    shop = await startTestShop();
  });
  afterAll(() => shop.stop());

  const run = (options: Partial<ReplayOptions> = {}) =>
    replay(book, { url: shop.url, admin: async () => ADMIN, concurrency: 8, ...options });

  const count = async (table: string, name: "order" | "product" | "user" | "payment"): Promise<number> => {
    const { default: pg } = await import("pg");
    const client = new pg.Client({ connectionString: shop.databases.urlOf(name) });
    await client.connect();
    try {
      return (await client.query(`select count(*)::int as n from ${table}`)).rows[0].n;
    } finally {
      await client.end();
    }
  };
  const counts = () =>
    Promise.all([
      count("orders", "order"),
      count("products", "product"),
      count("users", "user"),
      count("payments", "payment"),
    ]);

  test("buys every invoice, says so, and leaves the audit clean", async () => {
    const file = path.join(directory, "acknowledged");
    const acknowledged = await AcknowledgedFile.open(file);
    const first = await run({ limit: 20, acknowledged });
    expect(first).toMatchObject({ complete: true, invoices: 20, products: { created: 26, neverPriced: 3 } });

    const report = await run({ acknowledged });
    await acknowledged.close();
    expect(report).toMatchObject({
      complete: true,
      rows: 242,
      skippedRows: { returns: 13, zeroPrice: 10, unreadable: 0 },
      invoices: 62,
      skippedInvoices: 8,
      created: 54 - first.created,
      replayed: first.created,
      rejected: {},
      unanswered: [],
      products: { created: 0, existing: 26, neverPriced: 3 },
    });
    expect(replayText(report)).toContain("Every invoice has its final answer");

    const ids = (await readFile(file, "utf8")).trim().split("\n");
    expect(new Set(ids).size).toBe(54);
    const clean = await until("nothing is in doubt", async () => {
      const audited = await audit(shop.databases.urls, { acknowledged: ids });
      return audited.inDoubt === 0 ? audited : undefined;
    });
    expect(clean).toMatchObject({ ok: true });
  });

  test("for a second time changes nothing", async () => {
    const before = await counts();
    expect(await run()).toMatchObject({ complete: true, created: 0, replayed: 54, rejected: {} });
    expect(await counts()).toEqual(before);
  });

  test("counts what is rejected by its reason", async () => {
    const scarce = await bookOf("9001,SCARCE,Scarce,3,1.00,4711,UK\n9002,SCARCE,Scarce,1,1.00,4711,UK\n");
    const report = await replay(scarce, {
      url: shop.url,
      admin: async () => ADMIN,
      stockFactor: 0.5,
      concurrency: 1,
    });
    expect(report).toMatchObject({
      complete: true,
      created: 1,
      rejected: {
        insufficient_stock: {
          count: 1,
          examples: [{ invoice: "9001", detail: expect.stringContaining("SCARCE") }],
        },
      },
    });
  });
});

test("a server that is not ready, busy or gone is asked again with the same key", async () => {
  const seen: string[] = [];
  const answers: [number, object][] = [
    [503, { code: "unavailable" }],
    [409, { code: "request_in_progress" }],
    [0, {}],
    [504, { code: "deadline_exceeded" }],
    [201, { id: "done", status: "confirmed" }],
  ];
  const server = createServer((request, response) => {
    seen.push(String(request.headers["idempotency-key"]));
    const [status, body] = answers.shift() as [number, object];
    if (status === 0) return void request.socket.destroy();
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new ShopClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { sockets: 1 });
  try {
    const answer = await client.send({ method: "POST", path: "/orders", body: {}, idempotencyKey: "536365" });
    expect(answer).toMatchObject({ status: 201, body: { id: "done" } });
    expect(seen).toEqual(Array(5).fill("536365"));
    expect(client.retries).toBe(4);
  } finally {
    client.close();
    await new Promise((resolve) => server.close(resolve));
  }
});
