/**
 * A shop in several processes, over real PostgreSQL and a real message server, each of which can be killed by itself;
 * with a bank that outlives them all. Clients buy through one process that a test leaves alive.
 */
import { randomUUID } from "node:crypto";
import pg from "pg";
import type { DatabaseName, ServiceName } from "../../../config/index.ts";
import { audit } from "../../../scripts/audit/audit.ts";
import type { AuditReport } from "../../../scripts/audit/report.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { ScriptedGateway } from "../../support/card-gateway.ts";
import { until } from "../../support/until.ts";
import { ShopNode } from "./node.ts";

/** What a checkout needs. */
export const CHECKOUT = ["order", "product", "payment", "notification", "transaction-manager"] as const;

export interface Purchase {
  productId: string;
  quantity?: number;
  card?: string;
  key?: string;
}

/** What the client heard: an HTTP status, and the order's id or the code of the problem. */
export interface Answer {
  purchase: Required<Purchase>;
  status: number;
  id?: string;
  code?: string;
}

export interface FleetOptions {
  /** What each process hosts. The services of the others are waited for. */
  nodes: Readonly<Record<string, readonly ServiceName[]>>;
  /** By node. */
  env?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  nats: Server;
  /** Databases of a server of the test's own; by default clones on the shared one. */
  databases?: TestDatabases;
}

export class Fleet {
  readonly bank = new ScriptedGateway();
  readonly databases: TestDatabases;
  readonly userId = randomUUID();
  /** Ids of orders that were answered 201. */
  readonly acknowledged = new Set<string>();
  readonly nodes: Record<string, ShopNode> = {};

  readonly #pools = new Map<DatabaseName, pg.Pool>();

  private constructor(databases: TestDatabases) {
    this.databases = databases;
  }

  static async start({ nodes, env = {}, nats, databases }: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(databases ?? (await cloneDatabases(CHECKOUT)));
    const namespace = randomUUID().slice(0, 8);
    const common = { NAMESPACE: namespace, TRANSPORTER: nats.url, ...variablesOf(fleet.databases) };
    const started = await Promise.allSettled(
      Object.entries(nodes).map(async ([nodeId, services]) => {
        const needs = CHECKOUT.filter((name) => !services.includes(name));
        fleet.nodes[nodeId] = await ShopNode.start({
          nodeId,
          services,
          needs,
          env: { ...common, ...env[nodeId] },
          bank: fleet.bank,
        });
      }),
    );
    const failed = started.find((result) => result.status === "rejected");
    if (failed) {
      // The first error is the one to read.
      await fleet.stop().catch((also) => console.error("after a failed start:", also));
      throw failed.reason;
    }
    return fleet;
  }

  /** Kills everybody: what a stop leaves behind is another test's business. */
  async stop(): Promise<void> {
    await Promise.all(Object.values(this.nodes).map((node) => node.kill()));
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()));
    await this.databases.drop();
  }

  node(name: string): ShopNode {
    const node = this.nodes[name];
    if (!node) throw new Error(`the fleet has no node ${name}`);
    return node;
  }

  /** Starts a node that has died, and waits until the others see it. */
  async replace(name: string): Promise<void> {
    const dead = this.node(name);
    await dead.restart();
    await Promise.all(
      Object.entries(this.nodes).map(([each, node]) => each !== name && node.sees(dead.options.services)),
    );
  }

  async addProduct(via: ShopNode, stock = 1_000_000): Promise<string> {
    const { value } = await via.call<{ id: string }>(
      "product.create",
      { sku: `SKU-${randomUUID().slice(0, 8)}`, name: "Mug", price: { amount: 990, currency: "EUR" }, stock },
      { user: { id: this.userId, roles: ["admin"] } },
    );
    return value.id;
  }

  /** One request, as a client of the gateway would send it. Never rejects: no answer is status 0. */
  async buy(
    via: ShopNode,
    { productId, quantity = 1, card = "tok_ok", key = randomUUID() }: Purchase,
    nodeId?: string,
  ): Promise<Answer> {
    const purchase = { productId, quantity, card, key };
    try {
      const { value, status } = await via.call<{ id: string; status: string }>(
        "order.place",
        { items: [{ productId, quantity }], payment: { token: card } },
        { user: { id: this.userId, roles: ["user"] }, idempotencyKey: key },
        nodeId,
      );
      if (status === 201) this.acknowledged.add(value.id);
      return { purchase, status: status ?? 0, id: value.id };
    } catch (err) {
      const { type, status, message } = err as { type?: string; status?: number; message: string };
      return { purchase, status: status || 0, code: type || message };
    }
  }

  /** Repeats a purchase with its key until it is answered for good, as a client would. */
  async insist(via: ShopNode, purchase: Required<Purchase>): Promise<Answer> {
    const answerOf = async () => {
      const answer = await this.buy(via, purchase);
      const isFinal = FINAL.has(answer.status) && answer.code !== "request_in_progress";
      return isFinal || answer.code === "payment_unavailable" ? answer : undefined;
    };
    return until(`a final answer for key ${purchase.key}`, answerOf, 15_000, 50);
  }

  /** I1 to I5 as the audit sees them now, on the live shop. Throws at the first violation. */
  async audit(): Promise<AuditReport> {
    const report = await audit(this.databases.urls, { acknowledged: this.acknowledged, settleMs: 0 });
    const violations = report.invariants.flatMap((invariant) => invariant.violations);
    if (violations.length > 0) throw new Error(`the audit found: ${violations.join("; ")}`);
    return report;
  }

  /** What waits for something, counted: nothing, once the shop is quiet. */
  async unfinished(): Promise<Record<string, number>> {
    const counts = await Promise.all(
      Object.entries(UNFINISHED).map(async ([what, [name, text]]) => {
        const [row] = await this.query<{ n: number }>(name, `select count(*)::int as n from ${text}`);
        return [what, row?.n ?? 0] as const;
      }),
    );
    const [offset] = await this.query<{ position: string }>(
      "notification",
      "select position from event_offsets",
    );
    const [behind] = await this.query<{ n: number }>(
      "order",
      "select count(*)::int as n from outbox where position > $1",
      [offset?.position ?? 0],
    );
    counts.push(["events not taken", behind?.n ?? 0]);
    return Object.fromEntries(counts.filter(([, n]) => n > 0));
  }

  /** Waits until nothing is unfinished. Then the audit is clean, the bank's books say what the orders say, and nobody
   *  has called for an operator. */
  async settled(msIdle = SETTLED_MS): Promise<void> {
    // A bound that is tight on an idle machine, and grows with how long the last starts took on this one.
    const starts = Object.values(this.nodes).map(({ startMs }) => startMs);
    const msMax = msIdle * Math.min(Math.max(1, ...starts.map((ms) => ms / START_MS)), BUSY_MAX);
    let left: Record<string, number> = {};
    const isQuiet = async () => {
      left = await this.unfinished();
      return Object.keys(left).length === 0;
    };
    const quiet = () =>
      until("nothing is in doubt", isQuiet, msMax, 50).catch((err) => {
        throw new Error(`${err.message}, but ${JSON.stringify(left)}`);
      });
    await quiet();
    // A message that was still under way may have begun something after that look: then it is unfinished now.
    if ((await this.wrongCards()).length > 0 && !(await isQuiet())) await quiet();
    const wrong = await this.wrongCards();
    if (wrong.length > 0) throw new Error(`the bank's books differ: ${wrong.join("; ")}`);
    const { inFlight } = await this.audit();
    if (inFlight > 0) throw new Error(`the audit sees ${inFlight} unfinished where nothing is`);
    const alarms = Object.values(this.nodes).flatMap(({ errors }) =>
      errors.filter((line) => ALARM.test(line)),
    );
    if (alarms.length > 0) throw new Error(`an operator was called: ${alarms.join("; ")}`);
  }

  async query<Row>(name: DatabaseName, text: string, values: unknown[] = []): Promise<Row[]> {
    let pool = this.#pools.get(name);
    if (!pool) {
      pool = new pg.Pool({ connectionString: this.databases.urlOf(name), max: 1 });
      pool.on("error", () => undefined); // an idle connection that breaks is replaced at the next use
      this.#pools.set(name, pool);
    }
    return (await pool.query(text, values)).rows as Row[];
  }

  /** Whether the register has an outcome for each of these. */
  async isDecided(txIds: string[]): Promise<boolean> {
    const rows = await this.query(
      "transaction-manager",
      "select from decisions where tx_id = any($1::uuid[])",
      [txIds],
    );
    return rows.length === txIds.length;
  }

  async confirmedAmong(txIds: string[]): Promise<string[]> {
    const rows = await this.query<{ id: string }>(
      "order",
      "select id from orders where id = any($1::uuid[]) and state = 'committed' order by id",
      [txIds],
    );
    return rows.map(({ id }) => id);
  }

  /** A request that is repeated with its key gets the answer that was given, or the first final one; never is there a
   *  second order. Throws where that is not so. */
  async keysHold(via: ShopNode, answers: readonly Answer[]): Promise<void> {
    const again = await Promise.all(answers.map(({ purchase }) => this.insist(via, purchase)));
    const rows = await this.query<{ key: string; ids: string[] }>(
      "order",
      `select idempotency_key as key, array_agg(id::text) as ids from orders
       where idempotency_key = any($1) and state = 'committed' group by 1`,
      [answers.map(({ purchase }) => purchase.key)],
    );
    const confirmed = new Map(rows.map(({ key, ids }) => [key, ids.join()]));
    for (const [i, answer] of again.entries()) {
      const { purchase, status, id } = answer;
      const [first, stored] = [answers[i], confirmed.get(purchase.key)];
      if ((first?.status === 201 && first.id !== id) || stored !== (status === 201 ? id : undefined))
        throw new Error(`${JSON.stringify({ first, answer })} and confirmed is ${stored ?? "none"}`);
    }
  }

  /** After a row that failed half-way: everybody is running, and nothing is armed. */
  async repair(): Promise<void> {
    for (const [name, node] of Object.entries(this.nodes)) {
      if (node.isArmed) await node.kill();
      if (node.hasEnded) await this.replace(name);
    }
  }

  /** What the bank holds against the shop's books: one line for each card that is not as its order says. */
  async wrongCards(): Promise<string[]> {
    const rows = await this.query<{ id: string }>("order", "select id from orders where state = 'committed'");
    const confirmed = new Set(rows.map(({ id }) => id));
    const wrong: string[] = [];
    for (const id of confirmed)
      if (
        this.bank.cards.get(id) !== "captured" ||
        this.bank.holds.get(id) !== 1 ||
        this.bank.captures.get(id) !== 1
      )
        wrong.push(
          `${id} is confirmed; its card is ${this.bank.cards.get(id)}, held ${this.bank.holds.get(id)} times, captured ${this.bank.captures.get(id)} times`,
        );
    for (const [id, state] of this.bank.cards)
      if (!confirmed.has(id) && state !== "voided")
        wrong.push(`${id} is not confirmed, its card is ${state}`);
    return wrong;
  }
}

/** I4 allows 60 s. An abort that nobody stored is presumed after 3.5 s and carried out within 5; and a second for us. */
const SETTLED_MS = 6_000;
/** What a process needs to start where nothing else wants the processor, and how busy a machine may be at most. */
const START_MS = 1_000;
const BUSY_MAX = 8;

const ALARM = /needs an operator/;

const UNFINISHED: Readonly<Record<string, readonly [DatabaseName, string]>> = {
  "orders prepared": ["order", "orders where state = 'prepared'"],
  "events not published": ["order", "outbox where published_at is null"],
  "reservations prepared": ["product", "reservations where state = 'prepared'"],
  "payments in doubt": ["payment", "payments where state in ('authorizing', 'prepared')"],
  "payments that owe": ["payment", "payments where debt is not null"],
  "commits not acknowledged": ["transaction-manager", "decisions where not settled"],
};

/** Not for good: no answer, no node, too late, and 202. */
const FINAL = new Set([201, 402, 409, 422]);

function variablesOf(databases: TestDatabases): Record<string, string> {
  return Object.fromEntries(
    Object.entries(databases.urls).map(([name, url]) => [
      `DATABASE_URL_${name.toUpperCase().replaceAll("-", "_")}`,
      url,
    ]),
  );
}
