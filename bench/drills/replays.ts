/**
 * npm run replay as a child process, over and over until it is told that this is the last: a generated book per pass,
 * or a given file once. Tells how far the orders are by the file of acknowledged ids, which the replay syncs to disk
 * before it counts an order.
 */
import { statSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { readOrderBook } from "../../scripts/replay/order-book.ts";
import type { ReplayReport } from "../../scripts/replay/report.ts";
import { writeOrderBook } from "./order-book.ts";
import { ADMIN } from "./shop.ts";
import { endOf, type Site } from "./site.ts";

// An id and a line feed.
const LINE_BYTES = 37;
// A pass sells less than a thousand times what the first did, whose sales set the stock.
const STOCK_FACTOR = 1_000;

export interface ReplaysOptions {
  url: string;
  concurrency: number;
  /** Of each generated book. */
  invoices: number;
  file: string | undefined;
  random: () => number;
}

interface Pass {
  /** Acknowledged before this pass began. */
  from: number;
  orders: number;
}

export class Replays {
  readonly reports: ReplayReport[] = [];
  readonly #site: Site;
  readonly #options: ReplaysOptions;
  readonly #acknowledged: string;
  #pass: Pass | undefined;
  #isLast = false;
  #ended: Promise<void>;

  private constructor(site: Site, options: ReplaysOptions, acknowledged: string) {
    this.#site = site;
    this.#options = options;
    this.#acknowledged = acknowledged;
    this.#ended = this.#run();
    // Whoever waits for finish() hears of it.
    this.#ended.catch(() => undefined);
  }

  static async begin(site: Site, options: ReplaysOptions): Promise<Replays> {
    const acknowledged = site.path("acknowledged.txt");
    await writeFile(acknowledged, "");
    return new Replays(site, options, acknowledged);
  }

  /** Orders that were answered 201 until now. */
  get acknowledged(): number {
    return Math.floor(statSync(this.#acknowledged).size / LINE_BYTES);
  }

  async acknowledgedIds(): Promise<string[]> {
    // A line that is being written is no promise yet.
    const lines = (await readFile(this.#acknowledged, "utf8")).split("\n").slice(0, -1);
    return [...new Set(lines)];
  }

  /** Orders of the pass that are still to be answered; undefined outside the orders phase. */
  get ordersLeft(): number | undefined {
    if (!this.#pass) return undefined;
    const done = this.acknowledged - this.#pass.from;
    return done > 0 ? this.#pass.orders - done : undefined;
  }

  /** Orders of the whole given file; undefined where books are generated. */
  get ordersOfFile(): number | undefined {
    return this.#options.file === undefined ? undefined : this.#pass?.orders;
  }

  /** True where no pass will follow and the last one is over. */
  hasEnded = false;

  /** Waits for the pass that is running. Rejects where a replay did not exit with 0. */
  async finish(): Promise<void> {
    this.#isLast = true;
    await this.#ended;
  }

  async #run(): Promise<void> {
    try {
      for (let n = 1; n === 1 || !(this.#isLast || this.#options.file); n++) await this.#runOnce(n);
    } finally {
      this.#pass = undefined;
      this.hasEnded = true;
    }
  }

  async #runOnce(n: number): Promise<void> {
    const { url, concurrency, invoices, random, file = this.#site.path(`orders-${n}.csv`) } = this.#options;
    if (!this.#options.file) await writeOrderBook(file, `P${n}-`, invoices, random);
    const book = await readOrderBook(file);
    const orders = book.invoices.filter(({ lines }) => lines.length > 0).length;
    this.#pass = { from: this.acknowledged, orders };
    const options = [
      "--url",
      url,
      "--acknowledged",
      this.#acknowledged,
      "--concurrency",
      String(concurrency),
    ];
    if (!this.#options.file) options.push("--stock-factor", String(STOCK_FACTOR));
    const child = this.#site.run(
      process.execPath,
      ["scripts/replay.ts", file, ...options, "--json"],
      "replay",
      {
        env: { ADMIN_EMAIL: ADMIN.email, ADMIN_PASSWORD: ADMIN.password },
        piped: true,
      },
    );
    const [said, ended] = await Promise.all([
      text(child.stdout as NodeJS.ReadableStream & AsyncIterable<Uint8Array>),
      endOf(child),
    ]);
    if (ended !== 0)
      throw new Error(`replay ${n} ended with ${ended}: ${this.#site.tailOf("replay")} ${said}`);
    const report = JSON.parse(said) as ReplayReport;
    this.reports.push(report);
    this.#site.say(
      `replay ${n}: ${report.created} created, ${report.replayed} replayed, ${report.ordersPerSecond}/s, ${report.retries} retries`,
    );
  }
}
