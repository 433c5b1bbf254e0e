/** Rows changed against or without the register (rule 8): recorded, acknowledged as such, mixed said aloud, closed. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import pg from "pg";
import type { TransactionView } from "../../../actors/transaction-manager/transaction-view.ts";
import type { DatabaseName } from "../../../config/index.ts";
import { audit } from "../../../scripts/audit/audit.ts";
import { type AuditReport, auditJson } from "../../../scripts/audit/report.ts";
import type { Product } from "../../../services/product/api.ts";
import { ADMIN, startTestShop, type TestShop } from "../../harness/shop.ts";
import { Shopper } from "../../support/client.ts";
import { holdInquiries, leaveInDoubt } from "../../support/doubt.ts";
import { expectProblem } from "../../support/problem.ts";
import { until } from "../../support/until.ts";

let shop: TestShop;
let client: Shopper;
let admin: string;
let mug: Product;

beforeAll(async () => {
  shop = await startTestShop();
  holdInquiries(shop.broker);
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  mug = await client.addProduct(admin, { stock: 1_000 });
});
afterAll(async () => {
  client.close();
  await shop.stop();
});

const get = (id: string) => client.get(`/admin/transactions/${id}`, admin);
const force = (id: string, body: object) => client.post(`/admin/transactions/${id}/force`, body, admin);
const close = (id: string, reason: string) =>
  client.post(`/admin/transactions/${id}/close`, { reason }, admin);
const voteOf = (view: TransactionView, name: string) =>
  view.participants.find((participant) => participant.name === name);

async function run(name: DatabaseName, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf(name) });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Nobody reaches the database while `work` runs: its connections are ended, and new ones refused. */
async function without<Result>(name: DatabaseName, work: () => Promise<Result>): Promise<Result> {
  const database = new URL(shop.databases.urlOf(name)).pathname.slice(1);
  const server = new pg.Client({ connectionString: `${shop.databases.server}/postgres` });
  await server.connect();
  try {
    await server.query(`alter database ${database} allow_connections false`);
    await server.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", [
      database,
    ]);
    return await work();
  } finally {
    await server.query(`alter database ${database} allow_connections true`);
    await server.end();
  }
}

/** The last outcome is written to the register and to nobody else, as by a manager that dies right after it. */
const decideAlone = (txId: string, outcome: "commit" | "abort") =>
  run(
    "transaction-manager",
    `select * from decide(array['${txId}']::uuid[], array['${outcome}'], array['order,product,payment'])`,
  );

const auditNow = (): Promise<AuditReport> => audit(shop.databases.urls, { settleMs: 3_000 });

test("without the register nothing is forced, unless the operator names whose row is changed", async () => {
  const txId = await leaveInDoubt(shop.broker, mug);
  await without("transaction-manager", async () => {
    const refused = await force(txId, { outcome: "abort", reason: "stock is needed" });
    expectProblem(refused, 503, "unavailable");
    const shown = await get(txId);
    expect(shown.body).toMatchObject({
      state: "in-doubt",
      decision: null,
      unreachable: [{ name: "transaction-manager", code: expect.any(String) }],
    });
    const forced = await force(txId, { outcome: "abort", reason: "stock is needed", heuristic: ["product"] });
    expect(forced.status).toBe(200);
    expect(forced.body.state).toBe("heuristic");
    expect(voteOf(forced.body, "product")).toMatchObject({
      state: "aborted",
      heuristics: [
        { outcome: "abort", stateBefore: "prepared", reason: "stock is needed", stored: null, closed: null },
      ],
    });
    expect(voteOf(forced.body, "order")?.state).toBe("prepared");
    // As long as the outcome is not known it cannot be closed.
    expectProblem(await close(txId, "done"), 409, "transaction_undecided");
  });
  await until("the register answers again", async () => (await get(txId)).body.unreachable.length === 0);
  // The register agrees in the end: not mixed.
  const agreed = await force(txId, { outcome: "abort", reason: "the same everywhere" });
  expect(agreed.body.state).toBe("heuristic");
  const closed = await close(txId, "nothing to repair");
  expect(closed.status).toBe(200);
  expect(closed.body.state).toBe("aborted");
  expect(voteOf(closed.body, "product")?.heuristics).toMatchObject([
    { stored: "abort", closed: { reason: "nothing to repair" } },
  ]);
  expectProblem(await close(txId, "again"), 404, "not_found");
  expect(await auditNow()).toMatchObject({ ok: true, inDoubt: 0 });
}, 30_000);

test("against a stored commit: recorded, acknowledged as such, mixed in show, list and audit until it is closed", async () => {
  const txId = await leaveInDoubt(shop.broker, mug);
  await decideAlone(txId, "commit");
  const refused = await force(txId, { outcome: "abort", reason: "the card is stolen" });
  expectProblem(refused, 409, "outcome_contradicted");

  const forced = await force(txId, {
    outcome: "abort",
    reason: "the card is stolen",
    heuristic: ["payment"],
  });
  expect(forced.body.state).toBe("heuristic-mixed");
  expect(voteOf(forced.body, "payment")?.heuristics).toMatchObject([{ stored: "commit" }]);
  // Recovery brings the commit to everybody; payment's answer ends it.
  const settled = await until("recovery ends", async () => {
    const { body } = await get(txId);
    return body.decision.settled && body;
  });
  expect(voteOf(settled, "payment")).toMatchObject({ state: "aborted", acknowledged: "heuristic" });
  expect(voteOf(settled, "order")).toMatchObject({ state: "committed", acknowledged: "yes" });
  const listed = await client.get("/admin/transactions?state=heuristic", admin);
  expect(listed.body.items).toMatchObject([{ id: txId, state: "heuristic-mixed" }]);

  const violated = await auditNow();
  expect(violated.ok).toBe(false);
  expect(violated.invariants.flatMap(({ violations }) => violations).join("\n")).toMatch(
    new RegExp(`order ${txId}: the register says commit, payment aborted`),
  );
  expect(violated.heuristics.find((each) => each.txId === txId)).toMatchObject({
    isOpen: true,
    participants: ["payment"],
    reasons: [expect.stringMatching(/^"the card is stolen" by /)],
  });
  expect(JSON.parse(auditJson(violated)).heuristics).toEqual(violated.heuristics);

  const closed = await close(txId, "the customer paid by transfer, invoice 7");
  expect(closed.body.state).toBe("committed");
  const explained = await auditNow();
  expect(explained.ok).toBe(true);
  const told = explained.heuristics.find((each) => each.txId === txId);
  expect(told?.isOpen).toBe(false);
  expect(told?.faults.join()).toMatch(/payment aborted/);
}, 40_000);

test("a commit without the register that is aborted later is found by asking, and raised as an alarm", async () => {
  const alarms: string[] = [];
  const payment = shop.broker.getLocalService("payment") as unknown as {
    logger: { error(message: string): void };
    askAboutHeuristics(): Promise<boolean>;
  };
  const said = payment.logger.error;
  payment.logger.error = (message) => alarms.push(message);
  const txId = await leaveInDoubt(shop.broker, mug);
  await without("transaction-manager", async () => {
    const forced = await force(txId, {
      outcome: "commit",
      reason: "goods are handed over",
      heuristic: ["payment"],
    });
    expect(forced.body.state).toBe("heuristic");
  });
  await until("the register answers again", async () => (await get(txId)).body.unreachable.length === 0);
  await payment.askAboutHeuristics();
  expect((await get(txId)).body.decision).toBeNull();
  // Now an abort arrives, whoever wrote it; payment's commit stands, and says so.
  const forced = await force(txId, { outcome: "abort", reason: "nobody else can commit" });
  expect(forced.body).toMatchObject({ state: "heuristic-mixed", decision: { outcome: "abort" } });
  expect(voteOf(forced.body, "payment")?.state).toBe("committed");
  await payment.askAboutHeuristics();
  payment.logger.error = said;
  expect(alarms.join()).toMatch(
    /heuristic-mixed: the register says abort, an operator chose commit at payment/,
  );
  expect(voteOf((await get(txId)).body, "payment")?.heuristics).toMatchObject([{ stored: "abort" }]);
  await close(txId, "refunded by hand");
}, 30_000);

test("what is final is not forced: captured money, sold stock, a recorded no", async () => {
  const txId = await leaveInDoubt(shop.broker, mug);
  await force(txId, { outcome: "commit", reason: "all yes" });
  await until("it is settled", async () => (await get(txId)).body.state === "committed");
  const before = (await get(txId)).body;
  for (const name of ["order", "product", "payment"]) {
    const reply = await force(txId, { outcome: "abort", reason: "undo it", heuristic: [name] });
    expectProblem(reply, 409, "not_in_doubt");
    expect(reply.body).toMatchObject({ participant: name, changed: [] });
  }
  const after = (await get(txId)).body;
  expect(
    after.participants.map(({ state, heuristics }: TransactionView["participants"][0]) => [
      state,
      heuristics,
    ]),
  ).toEqual(before.participants.map(() => ["committed", []]));
});
