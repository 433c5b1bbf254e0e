/**
 * A shop in several processes, over real PostgreSQL and a real message server, each of which can be killed by itself;
 * with a bank that outlives them all. Clients buy through one process that a test leaves alive.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import pg from "pg";
import type { DatabaseName, ServiceName } from "../../../config/index.ts";
import { audit } from "../../../scripts/audit/audit.ts";
import type { AuditReport } from "../../../scripts/audit/report.ts";
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
  nats: MessageServer;
}

export class Fleet {
  readonly bank = new ScriptedGateway();
  readonly databases: TestDatabases;
  readonly userId = randomUUID();
  /** Ids of orders that were answered 201. */
  readonly acknowledged = new Set<string>();
  readonly nodes: Record<string, ShopNode> = {};

  private constructor(databases: TestDatabases) {
    this.databases = databases;
  }

  static async start({ nodes, env = {}, nats }: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(await cloneDatabases(CHECKOUT));
    const namespace = randomUUID().slice(0, 8);
    const common = { NAMESPACE: namespace, NATS_URL: nats.url, ...variablesOf(fleet.databases) };
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
      await fleet.stop();
      throw failed.reason;
    }
    return fleet;
  }

  /** Kills everybody: what a stop leaves behind is another test's business. */
  async stop(): Promise<void> {
    await Promise.all(Object.values(this.nodes).map((node) => node.kill()));
    await this.databases.drop();
  }

  node(name: string): ShopNode {
    const node = this.nodes[name];
    if (!node) throw new Error(`the fleet has no node ${name}`);
    return node;
  }

  /** Tells the others that a node has died, as their heartbeats would after a while, and starts it again. */
  async replace(name: string): Promise<void> {
    const dead = this.node(name);
    await this.mourn(name);
    await dead.restart();
    await Promise.all(
      Object.entries(this.nodes).map(([each, node]) => each !== name && node.sees(dead.options.services)),
    );
  }

  async mourn(name: string): Promise<void> {
    await Promise.all(Object.entries(this.nodes).map(([each, node]) => each !== name && node.mourn(name)));
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
  ): Promise<Answer> {
    const purchase = { productId, quantity, card, key };
    try {
      const { value, status } = await via.call<{ id: string; status: string }>(
        "order.place",
        { items: [{ productId, quantity }], payment: { token: card } },
        { user: { id: this.userId, roles: ["user"] }, idempotencyKey: key },
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
    return until(`a final answer for key ${purchase.key}`, async () => {
      const answer = await this.buy(via, purchase);
      const isFinal = FINAL.has(answer.status) && answer.code !== "request_in_progress";
      return isFinal || answer.code === "payment_unavailable" ? answer : undefined;
    });
  }

  /** I1 to I5 as the audit sees them now, on the live shop. Throws at the first violation. */
  async audit(): Promise<AuditReport> {
    const report = await audit(this.databases.urls, { acknowledged: this.acknowledged, settleMs: 0 });
    const violations = report.invariants.flatMap((invariant) => invariant.violations);
    if (violations.length > 0) throw new Error(`the audit found: ${violations.join("; ")}`);
    return report;
  }

  /** Waits until the audit sees nothing unfinished, no violation meanwhile, and the bank's books agree. */
  async settled(msMax: number): Promise<void> {
    let doubts: unknown;
    await until(
      "nothing is in doubt",
      async () => {
        const report = await this.audit();
        doubts = report.doubts;
        return report.inFlight === 0;
      },
      msMax,
      100, // a look costs the machine tens of milliseconds
    ).catch((err) => {
      throw new Error(`${err.message}: ${JSON.stringify(doubts)}`);
    });
    const wrong = await this.wrongCards();
    if (wrong.length > 0) throw new Error(`the bank's books differ: ${wrong.join("; ")}`);
  }

  async query<Row>(name: DatabaseName, text: string, values: unknown[] = []): Promise<Row[]> {
    const client = new pg.Client({ connectionString: this.databases.urlOf(name) });
    await client.connect();
    try {
      return (await client.query(text, values)).rows as Row[];
    } finally {
      await client.end();
    }
  }

  /** Confirmed orders by key: more than one is a charge too many. */
  async confirmedBy(keys: string[]): Promise<Map<string, string[]>> {
    const rows = await this.query<{ key: string; ids: string[] }>(
      "order",
      `select idempotency_key as key, array_agg(id::text) as ids from orders
       where idempotency_key = any($1) and state = 'committed' group by 1`,
      [keys],
    );
    return new Map(rows.map(({ key, ids }) => [key, ids]));
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

export interface MessageServer {
  url: string;
  stop(): Promise<void>;
}

export async function startNats(): Promise<MessageServer> {
  const server: ChildProcess = spawn("nats-server", ["--addr", "127.0.0.1", "--port", "-1"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = once(server, "exit");
  const address = Promise.withResolvers<string>();
  server.on("error", address.reject);
  server.on("exit", () => address.reject(new Error("nats-server ended before it listened")));
  createInterface({ input: server.stderr as NodeJS.ReadableStream }).on("line", (line) => {
    const found = /Listening for client connections on (\S+)/.exec(line)?.[1];
    if (found) address.resolve(`nats://${found}`);
  });
  return {
    url: await address.promise,
    async stop() {
      server.kill("SIGKILL");
      await ended;
    },
  };
}
