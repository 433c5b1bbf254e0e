/** A participant that is no service of ours commits with every order, all or nothing, whichever side is killed when. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import { audit } from "../../scripts/audit/audit.ts";
import { ADMIN } from "../harness/shop.ts";
import { Shopper, type User } from "../support/client.ts";
import { seeded } from "../support/random.ts";
import { until } from "../support/until.ts";
import { Sides } from "./ledger.ts";

const EARNED = 9; // for a mug of 9.90

let sides: Sides;
let client: Shopper;
let mug: { id: string };
beforeAll(async () => {
  sides = await Sides.open();
  client = new Shopper(sides.url);
  mug = await client.addProduct(await client.login(ADMIN.email, ADMIN.password), { stock: 1_000 });
}, 90_000);
afterAll(async () => {
  client?.close();
  await sides?.close();
}, 30_000);

/** As a client should: the same key until there is an answer that says what became of it. */
async function buy(user: User, card: string, key: string): Promise<number> {
  let status = 0;
  await until(
    `order ${key} has an answer`,
    async () => {
      const reply = await client.buy(user, mug.id, { card, key }).catch(() => undefined);
      status = reply?.status ?? 0;
      return status === 201 || (status >= 400 && status < 500 && reply?.body.code !== "request_in_progress");
    },
    40_000,
  );
  return status;
}

const settled = () =>
  until(
    "nothing is in doubt anywhere",
    async () => {
      if ((await sides.votes("prepared")).length > 0) return false;
      return (await audit(sides.databases.urls as never)).ok;
    },
    40_000,
  );

test("an order earns its points; one that is refused, by whomever, earns none and holds nothing", async () => {
  const [ann, bob] = [await client.register("Ann"), await client.register("Bob")];
  expect(await buy(ann, "tok_ok", "a-1")).toBe(201);
  await until("the points are there", async () => (await sides.points(ann.id)) === EARNED);
  expect(await buy(ann, "tok_declined", "a-2")).toBe(402);
  await sides.ledger.query("insert into accounts (user_id, blocked) values ($1, true)", [bob.id]);
  const refused = await client.buy(bob, mug.id);
  expect(refused.status).toBe(409);
  expect(refused.body).toMatchObject({
    code: "refused_elsewhere",
    participant: "points",
    reason: "account_blocked",
  });
  await settled();
  expect(await client.quiet(mug.id)).toMatchObject({ stock: 999, available: 999 });
  expect([await sides.points(ann.id), await sides.points(bob.id)]).toEqual([EARNED, 0]);
});

test("the ledger, killed after its yes, learns that the order was committed", async () => {
  const cat = await client.register("Cat");
  const bought = buy(cat, "tok_slow", "c-1");
  await until("it has voted", async () => (await sides.votes("prepared")).length === 1);
  // A vote that died with it would be no vote, and the order would wait for its return.
  await sides.answersAreOut();
  await sides.kill("ledger");
  expect(await bought).toBe(201);
  expect(await sides.points(cat.id)).toBe(0);
  await sides.start("ledger");
  await until("the points are there", async () => (await sides.points(cat.id)) === EARNED, 20_000);
}, 60_000);

test("the shop, killed before it decided, is asked, and the ledger lets go; the client's repeat earns once", async () => {
  const dan = await client.register("Dan");
  const bought = buy(dan, "tok_slow", "d-1");
  const [doubtful] = await until("it has voted", async () => {
    const votes = await sides.votes("prepared");
    return votes.length === 1 ? votes : undefined;
  });
  await sides.kill("shop");
  await sides.start("shop");
  expect(await bought).toBe(201);
  await settled();
  expect(await sides.votes("aborted")).toContain(doubtful);
  expect(await sides.points(dan.id)).toBe(EARNED);
}, 90_000);

test("orders and points agree to the last one while both sides are killed at random", async () => {
  const random = seeded("kills at random");
  const eve = await client.register("Eve");
  const orders = Array.from({ length: 40 }, (_, i) => `e-${i}`);
  let answered = 0;
  const placing = Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let key = orders.shift(); key !== undefined; key = orders.shift()) {
        expect(await buy(eve, "tok_ok", key)).toBe(201);
        answered++;
      }
    }),
  );
  for (const [i, side] of (["ledger", "shop", "ledger", "shop"] as const).entries()) {
    const after = i * 8 + 1 + random.int(6);
    await until(`${after} orders are answered`, () => answered >= after, 40_000);
    await sides.kill(side);
    await sides.start(side);
  }
  await placing;
  await settled();
  expect(await sides.points(eve.id)).toBe(40 * EARNED);
  const pool = new pg.Pool({ connectionString: sides.databases.urlOf("order"), max: 1 });
  const { rows } = await pool.query("select id from orders where state = 'committed' order by id");
  await pool.end();
  expect(await sides.votes("committed")).toEqual(rows.map(({ id }) => id));
}, 120_000);
