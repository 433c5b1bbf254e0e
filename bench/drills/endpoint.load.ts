/**
 * Clients of a shop whose gateways come and go: each asks one thing after the other, orders in turn with what the other
 * services answer, from any gateway that is an endpoint at that moment. They repeat what met a lost connection or a
 * "not yet", with the same Idempotency-Key; what has no final answer after 5 s has failed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ShopClient, type ShopRequest } from "../../scripts/replay/shop-client.ts";
import { type Customer, Customers } from "./customers.ts";
import { ANSWER_MS_MAX, isFinal } from "./traffic.ts";

const CLIENTS = 8;
/** Between two rounds of one client: what the machine has left beside the starts of seven processes every few seconds. */
const PAUSE_MS = 400;
/** Before a request that met a lost connection or a "not yet" is repeated. */
const REPEAT_MS = 100;

export class EndpointLoad {
  readonly acknowledged: string[] = [];
  readonly failures: string[] = [];
  requests = 0;
  repeated = 0;
  slowestMs = 0;
  readonly #endpoints: () => readonly { url: string }[];
  readonly #clients = new Map<string, ShopClient>();
  #customers: Customer[] = [];
  #products: string[] = [];
  #isOver = false;

  constructor(endpoints: () => readonly { url: string }[]) {
    this.#endpoints = endpoints;
  }

  get line(): string {
    return `${this.acknowledged.length} orders, ${this.requests} requests, ${this.repeated} repeated, ${this.failures.length} failed`;
  }

  async open(): Promise<void> {
    const customers = new Customers(this.#endpoints()[0]?.url as string, CLIENTS);
    this.#customers = await customers.signUp(CLIENTS);
    this.#products = await customers.addProducts(CLIENTS, 1_000_000);
    customers.close();
  }

  /** Resolves when each client has its last answer. */
  async run(): Promise<void> {
    await Promise.all(
      this.#customers.map((customer, i) => this.#shop(customer, this.#products[i] as string)),
    );
    for (const client of this.#clients.values()) client.close();
  }

  stop(): void {
    this.#isOver = true;
  }

  async #shop(customer: Customer, productId: string): Promise<void> {
    const { token, email } = customer;
    const order = { items: [{ productId, quantity: 1 }], payment: { token: "tok_ok" } };
    const others: ShopRequest[] = [
      { method: "GET", path: `/products/${productId}` },
      { method: "GET", path: "/profile", token },
      { method: "GET", path: "/notifications", token },
      { method: "GET", path: `/orders/user/${customer.id}`, token },
      { method: "POST", path: "/login", body: { email, password: Customers.PASSWORD } },
    ];
    for (let round = 0; !this.#isOver; round++) {
      const idempotencyKey = `${customer.id}-${round}`;
      const id = await this.#ask(
        { method: "POST", path: "/orders", token, body: order, idempotencyKey },
        201,
      );
      if (id !== undefined) this.acknowledged.push(id);
      await this.#ask(others[round % others.length] as ShopRequest, 200);
      await sleep(PAUSE_MS);
    }
  }

  /** The id in the wanted answer; undefined where there is none. */
  async #ask(request: ShopRequest, wanted: number): Promise<string | undefined> {
    const askedAt = performance.now();
    const elapsedMs = () => performance.now() - askedAt;
    this.requests++;
    for (let last = "no gateway was ready"; ; this.repeated++) {
      try {
        const answer = await this.#client()?.once<{ id?: string; code?: string }>(request);
        const isOver = answer && isFinal(answer);
        if (answer) last = `${answer.status} ${answer.body.code ?? ""}`;
        if (isOver && answer.status === wanted && elapsedMs() <= ANSWER_MS_MAX) {
          this.slowestMs = Math.max(this.slowestMs, Math.round(elapsedMs()));
          return answer.body.id;
        }
        if (isOver) return this.#fail(request, last);
      } catch (err) {
        last = (err as Error).message;
      }
      if (elapsedMs() > ANSWER_MS_MAX) return this.#fail(request, last);
      await sleep(REPEAT_MS);
    }
  }

  #fail({ method, path, idempotencyKey = "" }: ShopRequest, last: string): undefined {
    this.failures.push(`${method} ${path} ${idempotencyKey}: ${last}`);
  }

  #client(): ShopClient | undefined {
    const ready = this.#endpoints();
    const url = ready[this.requests % ready.length]?.url;
    if (url === undefined) return undefined;
    const client =
      this.#clients.get(url) ?? new ShopClient(url, { sockets: CLIENTS, answerMsMax: ANSWER_MS_MAX });
    this.#clients.set(url, client);
    return client;
  }
}
