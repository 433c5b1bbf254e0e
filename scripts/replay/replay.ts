/**
 * Replays an order book through the shop's public REST API: products, then customers, then one order per invoice,
 * with the invoice's number as its Idempotency-Key. Whatever dies on the way, the same request is sent again until it
 * has its final answer; a second replay changes nothing, because every key is known.
 */
import { availableParallelism } from "node:os";
import { Account } from "./account.ts";
import type { AcknowledgedFile } from "./acknowledged.ts";
import { importProducts } from "./catalogue.ts";
import { eachOf } from "./each-of.ts";
import type { BookInvoice, OrderBook } from "./order-book.ts";
import { type Progress, SILENT } from "./progress.ts";
import { percentile, type ReplayReport } from "./report.ts";
import { type ShopAnswer, ShopClient } from "./shop-client.ts";

export interface ReplayOptions {
  url: string;
  /** Credentials of an admin; asked for only where a product must be added. */
  admin: () => Promise<{ email: string; password: string }>;
  /** Stock of a product in units sold in the whole book; 1 is just enough. */
  stockFactor?: number;
  /** The first so many invoices; all by default. Products are those of the whole book all the same. */
  limit?: number;
  /** Requests at once; 32 by default. */
  concurrency?: number;
  acknowledged?: AcknowledgedFile | undefined;
  progress?: Progress;
  /** Ends the replay early, with an error. */
  signal?: AbortSignal;
  /** Told of a server that does not answer, and that it is back. */
  say?: (line: string) => void;
}

/** Passwords cost the shop's processor, so more at once only wait, and some for longer than the shop lets them. */
const LOGINS_AT_ONCE = 2 * availableParallelism();
const GUEST = "guest";
const EXAMPLES_MAX = 3;
/** A 202 whose order was then rejected frees the key; so often it is worth trying again. */
const ATTEMPTS_MAX = 10;

/** Rejects where a product or a customer is refused, or the server is gone for ten minutes before the orders begin. */
export async function replay(book: OrderBook, options: ReplayOptions): Promise<ReplayReport> {
  const startedAt = performance.now();
  const { concurrency = 32, stockFactor = 1, progress = SILENT, signal } = options;
  const client = new ShopClient(options.url, { sockets: concurrency, signal, say: options.say });
  try {
    const { ids, ...products } = await importProducts([...book.products.values()], {
      client,
      stockFactor,
      concurrency,
      begin: (total) => progress.begin("products", total),
      tick: progress.tick,
      admin: async () => {
        const { email, password } = await options.admin();
        return new Account(client, email, password);
      },
    });

    const invoices = book.invoices.slice(0, options.limit);
    const orders = invoices.filter((invoice) => invoice.lines.length > 0);
    const customers = await enter(client, orders, concurrency, progress);

    const tally = new Tally();
    const ordersFrom = performance.now();
    progress.begin("orders", orders.length);
    await eachOf(orders, concurrency, async (invoice) => {
      signal?.throwIfAborted();
      const account = customers.accounts.get(customerOf(invoice)) as Account;
      await tally.count(invoice, () => order(account, invoice, ids), options.acknowledged);
      progress.tick();
    });
    progress.end();

    const ordersSeconds = seconds(ordersFrom);
    const latencies = tally.latenciesMs.sort((a, b) => a - b);
    const skipped = (why: keyof BookInvoice["skipped"]) =>
      invoices.reduce((sum, invoice) => sum + invoice.skipped[why], 0);
    return {
      complete: tally.unanswered.length === 0,
      rows:
        invoices.reduce((sum, { lines }) => sum + lines.length, 0) +
        skipped("returns") +
        skipped("zeroPrice") +
        skipped("unreadable"),
      skippedRows: {
        returns: skipped("returns"),
        zeroPrice: skipped("zeroPrice"),
        unreadable: skipped("unreadable"),
      },
      invoices: invoices.length,
      skippedInvoices: invoices.length - orders.length,
      created: tally.created,
      replayed: tally.replayed,
      rejected: tally.rejected,
      unanswered: tally.unanswered,
      products,
      customers: {
        registered: customers.registered,
        existing: customers.accounts.size - customers.registered,
      },
      retries: client.retries,
      ordersSeconds,
      ordersPerSecond: Math.round((latencies.length / Math.max(ordersSeconds, 0.001)) * 10) / 10,
      p50Ms: percentile(latencies, 0.5),
      p99Ms: percentile(latencies, 0.99),
      seconds: seconds(startedAt),
    };
  } finally {
    progress.end();
    client.close();
  }
}

const seconds = (since: number): number => Math.round(performance.now() - since) / 1_000;

const customerOf = (invoice: BookInvoice): string => invoice.customer ?? GUEST;

/** Registers the customers that are not there yet, and logs all of them in. */
async function enter(
  client: ShopClient,
  orders: readonly BookInvoice[],
  concurrency: number,
  progress: Progress,
) {
  const accounts = new Map<string, Account>();
  let registered = 0;
  const customers = [...new Set(orders.map(customerOf))];
  progress.begin("customers", customers.length);
  await eachOf(customers, Math.min(concurrency, LOGINS_AT_ONCE), async (customer) => {
    const [local, name] =
      customer === GUEST ? [GUEST, "Guest"] : [`customer-${customer}`, `Customer ${customer}`];
    const account = new Account(client, `${local}@replay.example`, `the order book of ${customer}`);
    if (await account.register(name)) registered++;
    await account.login();
    accounts.set(customer, account);
    progress.tick();
  });
  return { accounts, registered };
}

interface OrderBody {
  id: string;
  status: string;
  code?: string;
  detail?: string;
}

/** The final answer to one invoice: its order, or why there is none. */
async function order(account: Account, invoice: BookInvoice, ids: ReadonlyMap<string, string>) {
  const items = invoice.lines.map(({ sku, quantity }) => ({ productId: ids.get(sku) as string, quantity }));
  const body = { items, payment: { token: "tok_ok" } };
  for (let attempt = 1; ; attempt++) {
    const answer = await account.send<OrderBody>({
      method: "POST",
      path: "/orders",
      idempotencyKey: invoice.number,
      body,
    });
    if (answer.status !== 202) return answer;
    const settled = await settledOrder(account, answer);
    if (settled.body.status !== "rejected" || attempt === ATTEMPTS_MAX) return settled;
  }
}

/** Asks for an order that was answered 202 until it is final. */
async function settledOrder(
  account: Account,
  { body }: ShopAnswer<OrderBody>,
): Promise<ShopAnswer<OrderBody>> {
  for (;;) {
    const answer = await account.send<OrderBody>({ method: "GET", path: `/orders/${body.id}` });
    if (answer.status !== 200 || answer.body.status !== "pending") return answer;
    // The shop's own Retry-After for a pending order.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

class Tally {
  created = 0;
  replayed = 0;
  readonly rejected: ReplayReport["rejected"] = {};
  readonly unanswered: ReplayReport["unanswered"] = [];
  /** Of final answers. */
  readonly latenciesMs: number[] = [];

  async count(
    invoice: BookInvoice,
    ask: () => Promise<ShopAnswer<OrderBody>>,
    acknowledged: AcknowledgedFile | undefined,
  ): Promise<void> {
    const from = performance.now();
    let answer: ShopAnswer<OrderBody>;
    try {
      answer = await ask();
    } catch (err) {
      this.unanswered.push({ invoice: invoice.number, detail: (err as Error).message });
      return;
    }
    this.latenciesMs.push(performance.now() - from);
    if (answer.body.status !== "confirmed") return this.#reject(invoice, answer);
    await acknowledged?.add(answer.body.id);
    if (answer.headers["idempotency-replayed"] === "true") this.replayed++;
    else this.created++;
  }

  #reject(invoice: BookInvoice, { status, body }: ShopAnswer<OrderBody>): void {
    const code = typeof body.code === "string" ? body.code : `${status} ${body.status}`;
    this.rejected[code] ??= { count: 0, examples: [] };
    const rejection = this.rejected[code];
    rejection.count++;
    if (rejection.examples.length < EXAMPLES_MAX)
      rejection.examples.push({ invoice: invoice.number, detail: String(body.detail ?? "") });
  }
}
