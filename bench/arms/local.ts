/** The arms without a distributed transaction: `local`, `local-1stmt`, and `xa`, which has one per checkout. */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import pg from "pg";
import { v7 } from "uuid";
import { requestHash } from "../../actors/protocol/request-hash.ts";
import { anyOf, CURRENCY, PRICE, stockUp } from "../catalogue.ts";
import * as sql from "./local.sql.ts";

export type LocalArm = "local" | "local-1stmt" | "xa";

export interface Checkout {
  place(): Promise<boolean>;
  close(): Promise<void>;
}

type Run = (
  client: pg.ClientBase | pg.Pool,
  name: string,
  text: string,
  values: unknown[],
) => Promise<pg.QueryResult>;
const run: Run = (client, name, text, values) => client.query({ name, text, values });

/** Makes the tables of product, order and payment in one database, each in its own schema, by their migrations. */
export async function makeLocalTables(url: string, skus: number): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const service of ["product", "order", "payment"]) {
      const folder = new URL(`../../services/${service}/migrations/`, import.meta.url);
      const { readdir } = await import("node:fs/promises");
      const files = (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();
      await client.query(`create schema "${service}"; set search_path = "${service}"`);
      for (const file of files) await client.query(await readFile(new URL(file, folder), "utf8"));
    }
    return await stockUp(client, skus, "product");
  } finally {
    await client.end();
  }
}

interface Values {
  id: string;
  user: string;
  product: string;
  lines: string;
  hash: string;
  at: string;
}

/** What the shop's own path makes up per order: ids, the lines snapshot, the request's hash. */
function makeUp(products: readonly string[]): Values {
  const product = anyOf(products);
  const lines = JSON.stringify([
    { productId: product, sku: "BENCH", name: "Product", quantity: 1, unitPrice: PRICE },
  ]);
  return {
    id: v7(),
    user: randomUUID(),
    product,
    lines,
    hash: requestHash(lines),
    at: new Date().toISOString(),
  };
}

const sell = (client: pg.ClientBase, v: Values) =>
  run(client, "sell", sql.SELL, [v.product, 1, PRICE, CURRENCY]);
const recordSale = (client: pg.ClientBase, v: Values) =>
  run(client, "sale", sql.RECORD_SALE, [v.id, v.hash, v.product, 1]);
const recordOrder = (client: pg.ClientBase, v: Values) =>
  run(client, "order", sql.RECORD_ORDER, [v.id, v.hash, v.user, v.lines, PRICE, CURRENCY, v.at]);
const recordPayment = (client: pg.ClientBase, v: Values) =>
  run(client, "payment", sql.RECORD_PAYMENT, [
    v.id,
    v.hash,
    v.user,
    PRICE,
    CURRENCY,
    "tok_ok",
    `sim_${v.id}`,
  ]);
const recordEvent = (client: pg.ClientBase, v: Values) =>
  run(client, "event", sql.RECORD_EVENT, [v.id, v.user, PRICE, CURRENCY, v.lines]);

async function within<Result>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  try {
    return await work(client);
  } finally {
    client.release();
  }
}

export function openLocal(
  arm: LocalArm,
  url: string,
  products: readonly string[],
  poolMax: number,
): Checkout {
  const pool = new pg.Pool({ connectionString: url, max: poolMax });
  const close = () => pool.end();
  if (arm === "local-1stmt") {
    return {
      close,
      async place() {
        const v = makeUp(products);
        const values = [
          v.id,
          v.user,
          v.product,
          1,
          PRICE,
          PRICE,
          CURRENCY,
          v.lines,
          v.hash,
          "tok_ok",
          `sim_${v.id}`,
          v.at,
        ];
        const { rows } = await run(pool, "one", sql.ONE_STATEMENT, values);
        return Number(rows[0].sold) === 1;
      },
    };
  }
  return {
    close,
    place: () =>
      within(pool, async (client) => {
        const v = makeUp(products);
        await client.query("begin");
        const sold = await sell(client, v);
        await recordSale(client, v);
        await recordOrder(client, v);
        await recordPayment(client, v);
        await recordEvent(client, v);
        await client.query("commit");
        return sold.rowCount === 1;
      }),
  };
}

/** Naive two-phase commit: three databases, one PREPARE TRANSACTION each, a decision row, three COMMIT PREPARED. */
export function openXa(
  urls: { product: string; order: string; payment: string; register: string },
  products: readonly string[],
  poolMax: number,
): Checkout {
  const open = (url: string) => new pg.Pool({ connectionString: url, max: poolMax });
  const pools = {
    product: open(urls.product),
    order: open(urls.order),
    payment: open(urls.payment),
    register: open(urls.register),
  };
  const prepare = (pool: pg.Pool, gid: string, work: (client: pg.ClientBase) => Promise<boolean>) =>
    within(pool, async (client) => {
      await client.query("begin");
      const done = await work(client);
      await client.query(`prepare transaction '${gid}'`);
      return done;
    });
  return {
    async close() {
      await Promise.all(Object.values(pools).map((pool) => pool.end()));
    },
    async place() {
      const v = makeUp(products);
      const votes = await Promise.all([
        prepare(pools.product, `${v.id}-product`, async (client) => {
          const sold = await sell(client, v);
          await recordSale(client, v);
          return sold.rowCount === 1;
        }),
        prepare(pools.order, `${v.id}-order`, async (client) => {
          await recordOrder(client, v);
          await recordEvent(client, v);
          return true;
        }),
        prepare(pools.payment, `${v.id}-payment`, async (client) => {
          await recordPayment(client, v);
          return true;
        }),
      ]);
      const commit = votes.every(Boolean);
      await run(pools.register, "decide", "insert into decisions values ($1, $2)", [
        v.id,
        commit ? "commit" : "abort",
      ]);
      const verb = commit ? "commit" : "rollback";
      await Promise.all([
        pools.product.query(`${verb} prepared '${v.id}-product'`),
        pools.order.query(`${verb} prepared '${v.id}-order'`),
        pools.payment.query(`${verb} prepared '${v.id}-payment'`),
      ]);
      return commit;
    },
  };
}
