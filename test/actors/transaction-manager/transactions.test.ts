/** Operators see what is in doubt and decide it by rule 2, over a whole shop on real PostgreSQL. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { TransactionView } from "../../../actors/transaction-manager/transaction-view.ts";
import { newId } from "../../../lib/ids.ts";
import type { Product } from "../../../services/product/api.ts";
import { ADMIN, startTestShop, type TestShop } from "../../harness/shop.ts";
import { Shopper, type User } from "../../support/client.ts";
import { holdInquiries, leaveInDoubt } from "../../support/doubt.ts";
import { expectProblem } from "../../support/problem.ts";
import { until } from "../../support/until.ts";

let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
let mug: Product;

beforeAll(async () => {
  shop = await startTestShop();
  holdInquiries(shop.broker);
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
  mug = await client.addProduct(admin, { stock: 1_000 });
});
afterAll(async () => {
  client.close();
  await shop.stop();
});

const get = (id: string) => client.get(`/admin/transactions/${id}`, admin);
const force = (id: string, body: object) => client.post(`/admin/transactions/${id}/force`, body, admin);
const states = (view: TransactionView) =>
  Object.fromEntries(view.participants.map(({ name, state }) => [name, state]));
const everywhere = (state: string) => ({ order: state, product: state, payment: state });

/** Follows the cursor to the end. */
async function listAll(limit = 100): Promise<TransactionView[]> {
  const items: TransactionView[] = [];
  for (let cursor = ""; ; ) {
    const reply = await client.get(`/admin/transactions?limit=${limit}${cursor}`, admin);
    expect(reply.status).toBe(200);
    items.push(...reply.body.items);
    if (!reply.body.nextCursor) return items;
    cursor = `&cursor=${reply.body.nextCursor}`;
  }
}

test("what is in doubt is listed with its age, units and money, and shown with every vote", async () => {
  const txId = await leaveInDoubt(shop.broker, mug, { quantity: 3 });
  const listed = (await listAll()).find(({ id }) => id === txId);
  expect(listed).toMatchObject({
    state: "in-doubt",
    units: 3,
    total: { amount: 2_970, currency: "EUR" },
    decision: null,
    waitsFor: ["order prepared", "product prepared", "payment prepared"],
    unreachable: [],
  });
  expect(listed?.ageMs).toBeGreaterThanOrEqual(0);

  const shown = await get(txId);
  expect(shown.status).toBe(200);
  expect(shown.body).toMatchObject({ enlisted: ["order", "product", "payment"], event: null, forced: [] });
  for (const vote of shown.body.participants)
    expect(vote).toMatchObject({
      state: "prepared",
      ageMs: expect.any(Number),
      refusal: null,
      acknowledged: null,
    });
  await force(txId, { outcome: "abort", reason: "tidy up" });
});

test("a page ends where its cursor goes on, oldest first", async () => {
  const made: string[] = [];
  for (let i = 0; i < 5; i++) made.push(await leaveInDoubt(shop.broker, mug));
  const pages = (await listAll(2)).map(({ id }) => id);
  expect(pages).toEqual([...pages].sort());
  expect(pages.filter((id) => made.includes(id))).toEqual(made);
  const stray = await client.get("/admin/transactions?state=heuristic&limit=2", admin);
  expect(stray.body).toEqual({ items: [], nextCursor: null, unreachable: [] });
  for (const id of made) await force(id, { outcome: "abort", reason: "tidy up" });
  expect((await listAll()).filter(({ id }) => made.includes(id))).toEqual([]);
});

test("a forced abort is followed by everybody, and recorded with who, why and when", async () => {
  const before = await client.quiet(mug.id);
  const txId = await leaveInDoubt(shop.broker, mug);
  const reply = await force(txId, { outcome: "abort", reason: "  the manager is gone " });
  expect(reply.status).toBe(200);
  expect(states(reply.body)).toEqual(everywhere("aborted"));
  expect(reply.body).toMatchObject({
    decision: { outcome: "abort" },
    forced: [{ outcome: "abort", reason: "the manager is gone", stored: "abort", at: expect.any(String) }],
  });
  const { body: profile } = await client.get("/profile", admin);
  expect(reply.body.forced[0].by).toBe(profile.id);
  expect((await client.quiet(mug.id)).available).toBe(before.available);
  await until("the card is voided", async () => (await get(txId)).body.state === "aborted");
  expect((await get(txId)).body.participants[0].heuristics).toEqual([]);
});

test("a forced commit with every yes is followed by everybody: sold, captured, told", async () => {
  const before = await client.quiet(mug.id);
  const txId = await leaveInDoubt(shop.broker, mug, { quantity: 2 });
  const reply = await force(txId, { outcome: "commit", reason: "all have voted yes" });
  expect(reply.status).toBe(200);
  expect(states(reply.body)).toEqual(everywhere("committed"));
  const shown = await until("it is settled", async () => {
    const { body } = await get(txId);
    return body.state === "committed" && body.decision.settled && body;
  });
  expect(shown.participants).toEqual(
    ["order", "product", "payment"].map((name) => expect.objectContaining({ name, acknowledged: "yes" })),
  );
  expect(shown.event).toMatchObject({ id: expect.any(String) });
  const sold = await client.quiet(mug.id);
  expect(sold.stock).toBe(before.stock - 2);
  const order = await client.get(`/orders/${txId}`, admin);
  expect(order.body).toMatchObject({ status: "confirmed", payment: { status: "captured" } });
});

test.each([
  ["has no vote", { at: ["order", "product"] }, "payment", /payment has no vote/],
  [
    "was refused",
    { at: ["order", "product", "payment"], token: "tok_declined" },
    "payment",
    /payment is aborted/,
  ],
  ["of order, which carries the set, is missing", { at: ["product", "payment"] }, undefined, /nobody knows/],
])("a commit is refused where a vote %s, and nothing is written", async (_what, doubt, name, sentence) => {
  const txId = await leaveInDoubt(shop.broker, mug, doubt);
  const reply = await force(txId, { outcome: "commit", reason: "please" });
  expectProblem(reply, 409, "vote_missing");
  expect(reply.body.detail).toMatch(sentence);
  expect(reply.body.missing.map((each: { name: string }) => each.name)).toEqual(name ? [name] : []);
  const { body } = await get(txId);
  expect(body).toMatchObject({ decision: null, forced: [] });
  expect((await force(txId, { outcome: "abort", reason: "then not" })).status).toBe(200);
  // A prepare that comes late finds the tombstone, or the decision.
  expect(states((await get(txId)).body)).toMatchObject({ product: "aborted" });
});

test("a commit is refused where the vote does not say who is enlisted, as those of before cannot", async () => {
  const txId = await leaveInDoubt(shop.broker, mug);
  await force(txId, { outcome: "abort", reason: "only its row is needed" });
  const old = await leaveInDoubt(shop.broker, mug, { participants: [] });
  expectProblem(await force(old, { outcome: "commit", reason: "please" }), 409, "vote_missing");
  await force(old, { outcome: "abort", reason: "tidy up" });
});

test("the outcome that is stored is never changed: the other one is refused, the same one repeated", async () => {
  const txId = await leaveInDoubt(shop.broker, mug);
  expect((await force(txId, { outcome: "abort", reason: "first" })).status).toBe(200);
  const other = await force(txId, { outcome: "commit", reason: "second" });
  expectProblem(other, 409, "outcome_contradicted");
  expect(other.body.stored).toBe("abort");
  const again = await force(txId, { outcome: "abort", reason: "third" });
  expect(again.body.forced.map((each: { reason: string }) => each.reason)).toEqual(["first", "third"]);
});

test("of two operators who force opposite outcomes at once, the first writer wins and both hear it", async () => {
  for (let round = 0; round < 10; round++) {
    const txId = await leaveInDoubt(shop.broker, mug);
    const [commit, abort] = await Promise.all([
      force(txId, { outcome: "commit", reason: "one" }),
      force(txId, { outcome: "abort", reason: "other" }),
    ]);
    const statuses = [commit.status, abort.status].sort();
    expect(statuses).toEqual([200, 409]);
    const stored = commit.status === 200 ? "commit" : "abort";
    const loser = commit.status === 200 ? abort : commit;
    // The loser read the votes, or the register, before or after the winner wrote.
    expect(["outcome_contradicted", "vote_missing"]).toContain(loser.body.code);
    const final = await until("everybody follows", async () => {
      const { body } = await get(txId);
      return body.waitsFor.length === 0 && body;
    });
    expect(final.decision.outcome).toBe(stored);
    expect(states(final)).toEqual(everywhere(stored === "commit" ? "committed" : "aborted"));
  }
});

test("beside a live driver the first writer wins, and the client hears the truth", async () => {
  const buying = client.buy(ann, mug.id, { card: "tok_slow" });
  const txId = await until("the order waits for its card", async () => {
    const waiting = (await listAll()).find(({ waitsFor }) => waitsFor.includes("payment authorizing"));
    return waiting?.id;
  });
  const early = await force(txId, { outcome: "commit", reason: "it will surely come" });
  expectProblem(early, 409, "vote_missing");
  expect(early.body.missing).toEqual([{ name: "payment", state: "authorizing" }]);
  expect((await force(txId, { outcome: "abort", reason: "the customer called" })).status).toBe(200);
  expect((await buying).status).toBeGreaterThanOrEqual(400);
  expect(states((await get(txId)).body)).toEqual(everywhere("aborted"));
});

test("nobody but an admin sees or forces anything", async () => {
  const txId = newId();
  for (const [method, path] of [
    ["GET", "/admin/transactions"],
    ["GET", `/admin/transactions/${txId}`],
    ["POST", `/admin/transactions/${txId}/force`],
    ["POST", `/admin/transactions/${txId}/close`],
  ] as const) {
    const body = method === "POST" ? { body: { outcome: "abort", reason: "mine" } } : {};
    expectProblem(await client.send(method, path, { token: ann.token, ...body }), 403, "forbidden");
    expectProblem(await client.send(method, path, body), 401, "unauthorized");
  }
});

test("what is asked wrongly is refused with the place of the fault", async () => {
  const txId = await leaveInDoubt(shop.broker, mug);
  for (const [body, pointer] of [
    [{ outcome: "abort" }, "/reason"],
    [{ outcome: "abort", reason: "   " }, "/reason"],
    [{ outcome: "abort", reason: "x".repeat(501) }, "/reason"],
    [{ outcome: "perhaps", reason: "why not" }, "/outcome"],
    [{ outcome: "abort", reason: "why", heuristic: [] }, "/heuristic"],
    [{ outcome: "abort", reason: "why", heuristic: ["user"] }, "/heuristic"],
    [{ outcome: "abort", reason: "why", by: "me" }, "/by"],
  ] as const) {
    const reply = await force(txId, body);
    expectProblem(reply, 422, "validation_failed");
    expect(reply.body.errors[0].pointer).toBe(pointer);
  }
  expect((await get(txId)).body.decision).toBeNull();
  expectProblem(await get(newId()), 404, "not_found");
  expectProblem(await force(newId(), { outcome: "abort", reason: "why" }), 404, "not_found");
  expect((await get("no-id")).status).toBe(400);
  expect((await client.get("/admin/transactions?state=odd", admin)).status).toBe(422);
  await force(txId, { outcome: "abort", reason: "tidy up" });
});

// The last one: payment does not come back.
test("a participant that is away is named, and nothing fails as a whole for it", async () => {
  const [txId, other] = [await leaveInDoubt(shop.broker, mug), await leaveInDoubt(shop.broker, mug)];
  const payment = shop.broker.getLocalService("payment");
  await shop.broker.destroyService(payment as NonNullable<typeof payment>);
  const away = [{ name: "payment", code: "unavailable" }];

  const page = await client.get("/admin/transactions", admin);
  expect(page.body.unreachable).toEqual(away);
  expect(page.body.items.map(({ id }: TransactionView) => id)).toEqual([txId, other].sort());
  const shown = (await get(txId)).body;
  expect(states(shown)).toEqual({ order: "prepared", product: "prepared", payment: "unknown" });
  expect(shown.unreachable).toEqual(away);
  expectProblem(await get(newId()), 503, "unavailable");

  const refused = await force(txId, { outcome: "commit", reason: "it must be yes" });
  expectProblem(refused, 409, "vote_missing");
  expect(refused.body.missing).toEqual([{ name: "payment", state: "unknown" }]);
  const heuristic = await force(txId, { outcome: "abort", reason: "why", heuristic: ["payment"] });
  // The register can be asked and has no decision: the abort is proposed to it, and payment will follow.
  expect(heuristic.status).toBe(200);
  expect(states(heuristic.body)).toEqual({ order: "aborted", product: "aborted", payment: "unknown" });
  expect(heuristic.body.decision.outcome).toBe("abort");
});
