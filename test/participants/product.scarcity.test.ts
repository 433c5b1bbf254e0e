/** Scarce stock: who of a batch gets it, and that no order of things gives more than there is. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import type { PrepareEntry } from "../../actors/protocol/messages.ts";
import { deleteProduct } from "../../services/product/product.repository.ts";
import { seeded } from "../support/random.ts";
import { entryOf, type Replica } from "../support/replica.ts";
import { until } from "../support/until.ts";
import { addProducts, product, reservation } from "./product.subject.ts";
import { Bench } from "./subject.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await Bench.open(product);
});
afterEach(() => bench.stopReplicas());
afterAll(() => bench.close());

/** A batch is worked on in the order of txIds. */
const inOrder = (entries: PrepareEntry[]) => entries.sort((a, b) => (a.txId < b.txId ? -1 : 1));

const stockOf = async (
  ids: readonly string[],
  db = bench.db,
): Promise<{ on_hand: number; reserved: number }[]> => {
  const { rows } = await db.query<{ on_hand: number; reserved: number }>({
    text: "select on_hand::float8, reserved::float8 from stocked_products where id = any($1::uuid[]) order by id",
    values: [ids],
  });
  return rows;
};

describe("with one unit left", () => {
  test("two entries of one batch: one yes, one no that says how many are left", async () => {
    const replica = await bench.replica();
    const [id] = (await addProducts(bench.db, 1, 1)) as [string];
    const votes = await replica.votes(
      inOrder([entryOf(reservation([id, 1])), entryOf(reservation([id, 1]))]),
    );
    expect(votes).toEqual([
      { kind: "yes" },
      { kind: "no", reason: "insufficient_stock", detail: { productId: id, available: 0 } },
    ]);
    expect(await stockOf([id])).toEqual([{ on_hand: 1, reserved: 1 }]);
  });

  test("two lines of one entry: no, and the unit is still there for another", async () => {
    const replica = await bench.replica();
    const [id] = (await addProducts(bench.db, 1, 1)) as [string];
    expect(await replica.vote(entryOf(reservation([id, 1], [id, 1])))).toMatchObject({ kind: "no" });
    expect(await replica.vote(entryOf(reservation([id, 1])))).toEqual({ kind: "yes" });
    expect(await stockOf([id])).toEqual([{ on_hand: 1, reserved: 1 }]);
  });

  test("a hundred entries at two replicas: one yes", async () => {
    const replicas = [await bench.replica(), await bench.replica()];
    const [id] = (await addProducts(bench.db, 1, 1)) as [string];
    const votes = await Promise.all(
      Array.from({ length: 100 }, (_, i) => (replicas[i % 2] as Replica).vote(entryOf(reservation([id, 1])))),
    );
    expect(votes.filter((vote) => vote.kind === "yes")).toHaveLength(1);
    expect(await stockOf([id])).toEqual([{ on_hand: 1, reserved: 1 }]);
  });

  test("an entry that fails on its second product keeps nothing of the first", async () => {
    const replica = await bench.replica();
    const [a, b] = (await addProducts(bench.db, 2, 1)) as [string, string];
    const votes = await replica.votes([
      entryOf(reservation([a, 1], [b, 2])),
      entryOf(reservation([a, 1])),
      entryOf(reservation([b, 1])),
    ]); // in any order of theirs, the first is granted nothing
    expect(votes.map((vote) => vote.kind)).toEqual(["no", "yes", "yes"]);
  });
});

test("a price or currency that differs, and a product that is gone, are noes with what is true now", async () => {
  const replica = await bench.replica();
  const [a, b] = (await addProducts(bench.db, 2, 9)) as [string, string];
  await deleteProduct(bench.db, b, {});
  const dearer = reservation([a, 1]);
  (dearer.lines[0] as { unitPrice: number }).unitPrice = 999;
  const dollars = { ...reservation([a, 1]), currency: "USD" };
  const price = { amount: 1_000, currency: "EUR" };
  expect(
    await replica.votes([
      entryOf(dearer),
      entryOf(dollars),
      entryOf(reservation([b, 1])),
      entryOf(reservation([a, 1])),
    ]),
  ).toEqual([
    { kind: "no", reason: "price_changed", detail: { productId: a, price } },
    { kind: "no", reason: "price_changed", detail: { productId: a, price } },
    { kind: "no", reason: "product_gone", detail: { productId: b } },
    { kind: "yes" },
  ]);
});

test("a product that is deleted while an order holds it is still sold, and released, to that order", async () => {
  const replica = await bench.replica();
  const [id] = (await addProducts(bench.db, 1, 5)) as [string];
  const [sold, released] = [entryOf(reservation([id, 2])), entryOf(reservation([id, 1]))];
  await replica.votes([sold, released]);
  await deleteProduct(bench.db, id, {});
  expect(await replica.commit(sold.txId)).toEqual(["done"]);
  expect(await replica.abort(released.txId)).toEqual(["done"]);
  expect(await stockOf([id])).toEqual([{ on_hand: 3, reserved: 0 }]);
});

test("a line of a negative quantity gives nobody stock that is not there", async () => {
  const replica = await bench.replica();
  const [id] = (await addProducts(bench.db, 1, 1)) as [string];
  const negative = entryOf(reservation([id, -5]));
  const greedy = entryOf(reservation([id, 6]));
  await replica.votes([negative, greedy]);
  await replica.abort(negative.txId);
  await replica.abort(greedy.txId);
  expect((await replica.votes([greedy]))[0]).toMatchObject({ kind: "no" });
  expect(await bench.state(negative.txId)).not.toBe("prepared");
  expect(await stockOf([id])).toEqual([{ on_hand: 1, reserved: 0 }]);
});

describe("random batches", () => {
  test("end as one-by-one execution does: the same votes, the same stock", async () => {
    const random = seeded("product batches");
    const other = await Bench.open(product);
    try {
      const [together, oneByOne] = [await bench.replica(), await other.replica()];
      let noes = 0;
      for (let round = 0; round < 60; round++) {
        const stocks = Array.from({ length: 4 }, () => random.int(6));
        const ids: string[] = [];
        for (const stock of stocks) ids.push(...(await addProducts(bench.db, 1, stock)));
        await copyProducts(other, ids);
        const entries = Array.from({ length: 1 + random.int(8) }, () =>
          entryOf(
            reservation(
              ...Array.from(
                { length: 1 + random.int(3) },
                () => [random.pick(ids), 1 + random.int(3)] as [string, number],
              ),
            ),
          ),
        );
        inOrder(entries);
        const votes = await together.votes(entries);
        const expected = [];
        for (const entry of entries) expected.push(await oneByOne.vote(entry));
        expect({ round, votes }).toEqual({ round, votes: expected });
        expect(await stockOf(ids)).toEqual(await stockOf(ids, other.db));
        noes += votes.filter((vote) => vote.kind === "no").length;
        await settleSome(together, oneByOne, entries);
        expect(await stockOf(ids)).toEqual(await stockOf(ids, other.db));
      }
      expect(noes).toBeGreaterThan(20); // else the batches tested nothing
    } finally {
      await other.close();
    }

    async function settleSome(a: Replica, b: Replica, entries: PrepareEntry[]): Promise<void> {
      const txIds = entries.map(({ txId }) => txId);
      const cut = random.int(txIds.length + 1);
      for (const [phase, chosen] of [
        ["commit", txIds.slice(0, cut)],
        ["abort", txIds.slice(cut)],
      ] as const) {
        if (chosen.length === 0) continue;
        const replies = await a[phase](...chosen.toReversed());
        const alone = [];
        for (const txId of chosen) alone.push(...(await b[phase](txId)));
        expect(replies).toEqual(alone.toReversed());
      }
    }
  });

  test("in opposite SKU order, 10,000 of them at two replicas, meet no deadlock and add up", async () => {
    const random = seeded("product opposite orders");
    const replicas = [await bench.replica(), await bench.replica()];
    // Enough for some of it: towards the end everything is scarce, and judged one by one.
    const ids = await addProducts(bench.db, 6, 8_000);
    let reserved = 0;
    let sold = 0;
    for (let round = 0; round < 1_250; round++) {
      const batches = Array.from({ length: 8 }, (_, i) =>
        Array.from({ length: 3 }, () => {
          const lines = (i % 2 ? ids : ids.toReversed()).filter(() => random.chance(0.6));
          return entryOf(
            reservation(...(lines.length > 0 ? lines : ids).map((id) => [id, 1] as [string, number])),
          );
        }),
      );
      await Promise.all(
        batches.map(async (batch, i) => {
          const replica = replicas[i % 2] as Replica;
          const votes = await replica.votes(batch);
          for (const [n, vote] of votes.entries()) {
            const entry = batch[n] as PrepareEntry<{ lines: unknown[] }>;
            if (vote.kind !== "yes") continue;
            if (random.chance(0.5)) {
              expect(await replica.commit(entry.txId)).toEqual(["done"]);
              sold += entry.request.lines.length;
            } else if (random.chance(0.8)) expect(await replica.abort(entry.txId)).toEqual(["done"]);
            else reserved += entry.request.lines.length;
          }
        }),
      );
    }
    const rows = await stockOf(ids);
    for (const row of rows) expect(row.reserved).toBeLessThanOrEqual(row.on_hand);
    expect(rows.reduce((sum, row) => sum + row.reserved, 0)).toBe(reserved);
    expect(rows.reduce((sum, row) => sum + row.on_hand, 0)).toBe(6 * 8_000 - sold);
    expect(sold).toBeGreaterThan(0);
    expect(replicas.flatMap(({ db }) => db.deadlocks)).toEqual([]);
  }, 90_000);
});

test("a batch that is the victim of a real deadlock is repeated: yes, reserved once", async () => {
  const replica = await bench.replica();
  const [a, b] = (await addProducts(bench.db, 2, 10)) as [string, string];
  const rival = new pg.Client({ connectionString: bench.url });
  await rival.connect();
  try {
    await rival.query("begin");
    await rival.query("set local deadlock_timeout = '60s'"); // so that the batch, not the rival, is the victim
    await rival.query("select 1 from products where id = $1 for update", [b]);
    const voting = replica.prepare([entryOf(reservation([b, 1], [a, 1]))]);
    await until("the batch waits", async () => {
      const { rows } = await bench.db.query({
        text: "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      });
      return rows.length > 0;
    });
    await rival.query("select 1 from products where id = $1 for update", [a]);
    await rival.query("rollback");
    expect(await voting).toEqual([{ kind: "yes" }]);
    expect(replica.db.deadlocks.length).toBeGreaterThan(0); // the repeat may be a victim too, until the rival lets go
    expect(await stockOf([a, b])).toEqual([
      { on_hand: 10, reserved: 1 },
      { on_hand: 10, reserved: 1 },
    ]);
  } finally {
    await rival.end();
  }
});

// A duplicate that locked its products first would meet the row that the abort is changing, which waits for the products.
test("a duplicate prepare beside the abort of its transaction meets no deadlock", async () => {
  const [one, other] = [await bench.replica(), await bench.replica()];
  const [a, b] = (await addProducts(bench.db, 2, 10)) as [string, string];
  const sold = entryOf(reservation([a, 1], [b, 1]));
  await one.vote(sold);
  const waiting = async (): Promise<number> => {
    const { rows } = await bench.db.query({
      text: "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    });
    return rows.length;
  };
  const rival = new pg.Client({ connectionString: bench.url });
  await rival.connect();
  try {
    await rival.query("begin");
    await rival.query("select 1 from products where id = $1 for update", [b]);
    const duplicate = one.votes([sold]);
    // Where the duplicate is answered from its row it waits for nobody, and the abort waits for the rival alone.
    const answered = duplicate.then(() => true);
    await until(
      "the duplicate waits, or is answered",
      async () => (await waiting()) > 0 || (await Promise.race([answered, false])),
    );
    const before = await waiting();
    const aborting = other.abort(sold.txId);
    await until("the abort waits", async () => (await waiting()) > before);
    await rival.query("rollback");
    expect(await duplicate).toEqual([{ kind: "yes" }]);
    expect(await aborting).toEqual(["done"]);
    expect([...one.db.deadlocks, ...other.db.deadlocks]).toEqual([]);
    expect(await stockOf([a, b])).toEqual([
      { on_hand: 10, reserved: 0 },
      { on_hand: 10, reserved: 0 },
    ]);
  } finally {
    await rival.end();
  }
});

async function copyProducts(to: Bench, ids: readonly string[]): Promise<void> {
  const { rows } = await bench.db.query<{ json: string }>({
    text: "select to_jsonb(p)::text as json from products p where id = any($1::uuid[])",
    values: [ids],
  });
  for (const { json } of rows)
    await to.db.query({
      text: "insert into products select * from jsonb_populate_record(null::products, $1::jsonb)",
      values: [json],
    });
}
