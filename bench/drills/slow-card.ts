/**
 * Orders whose card takes 2 s, among others: does a slow card delay anybody else? The same stream of quick orders is
 * measured without and with slow ones, in turns (A B A B), so that a drift of the machine falls on both. The streams
 * have a constant rate, and a latency counts from when its request was due: a wait in the client is a wait.
 */
import { percentile } from "../../scripts/replay/report.ts";
import { type Customer, Customers } from "./customers.ts";
import type { Drill } from "./drill.ts";
import { auditLine, Shop } from "./shop.ts";
import type { Site } from "./site.ts";

const SKUS = 200;
const CONNECTIONS = 16;
/**
 * Well below what two cores can do: near the limit every request waits for every other, slow cards or not. An order that
 * travels alone takes about 7 ms of processor time, so with the slow ones this is less than half of two cores.
 */
const QUICK_PER_SECOND = 100;
/** A fifth of all requests. Each takes 2 s, so 50 of them are under way at any time. */
const SLOW_PER_SECOND = QUICK_PER_SECOND / 4;
const SLOW_CONNECTIONS = 128;
const WARM_UP_SECONDS = 3;
/** Not measured in any phase: until slow orders are under way in their usual number. */
const RUN_IN_SECONDS = 2;
const RATIO_MAX = 1.5;
const TURNS = 2;

interface Phase {
  quickMs: number[];
  slowMs: number[];
  /** Any outcome but 201, by card and answer. */
  failures: Record<string, number>;
}

export const slowCard: Drill = {
  name: "slow-card",
  about: `a fifth of all orders wait 2 s for their card: p99 of the others stays within ${RATIO_MAX} times its usual`,
  takes: ["seconds"],
  async run(site, { seconds = 30 }) {
    const shop = await Shop.open(site);
    const quick = new Customers(shop.url, CONNECTIONS);
    const slow = new Customers(shop.url, SLOW_CONNECTIONS);
    try {
      const products = await quick.addProducts(SKUS, 1_000_000);
      const buyers = await quick.signUp(CONNECTIONS);
      const phase = (duration: number, runIn: number, slowPerSecond: number) =>
        measure(site, { quick, slow, products, buyers, duration, runIn, slowPerSecond });
      await phase(WARM_UP_SECONDS, 0, SLOW_PER_SECOND);
      const without: Phase = { quickMs: [], slowMs: [], failures: {} };
      const withSlow: Phase = { quickMs: [], slowMs: [], failures: {} };
      for (let turn = 1; turn <= TURNS; turn++)
        for (const [name, slowPerSecond, all] of [
          ["without", 0, without],
          ["with", SLOW_PER_SECOND, withSlow],
        ] as const) {
          const part = await phase(seconds / TURNS, RUN_IN_SECONDS, slowPerSecond);
          all.quickMs.push(...part.quickMs);
          all.slowMs.push(...part.slowMs);
          for (const [what, n] of Object.entries(part.failures))
            all.failures[what] = (all.failures[what] ?? 0) + n;
          site.say(
            `${name} slow cards, turn ${turn}: p50 ${p(part.quickMs, 0.5)} ms, p99 ${p(part.quickMs, 0.99)} ms of ${part.quickMs.length}; failed: ${JSON.stringify(part.failures)}`,
          );
        }
      const report = await shop.audit();
      site.say(auditLine(report));
      await shop.stop();
      const auditOk = report.ok && report.inDoubt === 0;
      const failed = [without, withSlow]
        .flatMap(({ failures }) => Object.values(failures))
        .reduce((a, b) => a + b, 0);
      const ratio = Math.round((p(withSlow.quickMs, 0.99) / p(without.quickMs, 0.99)) * 100) / 100;
      return {
        quickPerSecond: QUICK_PER_SECOND,
        slowPerSecond: SLOW_PER_SECOND,
        quickOrders: without.quickMs.length + withSlow.quickMs.length,
        slowOrders: withSlow.slowMs.length,
        p50MsWithout: p(without.quickMs, 0.5),
        p99MsWithout: p(without.quickMs, 0.99),
        p50MsWith: p(withSlow.quickMs, 0.5),
        p99MsWith: p(withSlow.quickMs, 0.99),
        p99Ratio: ratio,
        slowP50Ms: p(withSlow.slowMs, 0.5),
        failed,
        failuresWithout: without.failures,
        failuresWith: withSlow.failures,
        auditOk,
        ok: ratio <= RATIO_MAX && failed === 0 && auditOk,
      };
    } finally {
      quick.close();
      slow.close();
    }
  },
};

const p = (latencies: number[], share: number): number =>
  percentile(
    latencies.toSorted((a, b) => a - b),
    share,
  );

interface PhaseOptions {
  quick: Customers;
  slow: Customers;
  products: string[];
  buyers: Customer[];
  /** Seconds that count, after `runIn` seconds that do not. */
  duration: number;
  runIn: number;
  slowPerSecond: number;
}

/** Ends when every order is answered, so that no slow one reaches into the next phase. */
async function measure(site: Site, options: PhaseOptions): Promise<Phase> {
  const { quick, slow, products, buyers, duration, runIn, slowPerSecond } = options;
  const phase: Phase = { quickMs: [], slowMs: [], failures: {} };
  const countFrom = performance.now() + runIn * 1_000;
  const until = countFrom + duration * 1_000;
  const any = <Item>(items: Item[]): Item => items[Math.floor(Math.random() * items.length)] as Item;

  const fail = (what: string) => {
    phase.failures[what] = (phase.failures[what] ?? 0) + 1;
  };
  const buy = async (
    customers: Customers,
    customer: Customer,
    card: string,
    dueAt: number,
    into: number[],
  ) => {
    try {
      const { status, body } = await customers.order({ customer, productId: any(products), card });
      if (status !== 201) fail(`${card}: ${status} ${body.code ?? body.status}`);
      else if (dueAt >= countFrom) into.push(performance.now() - dueAt);
    } catch (err) {
      fail(`${card}: ${(err as Error).message}`);
    }
  };

  // Each connection sends every so often, and its next order when the last one is answered; they begin evenly apart.
  const periodMs = (1_000 * CONNECTIONS) / QUICK_PER_SECOND;
  const connection = async (customer: Customer, n: number) => {
    const first = performance.now() + (n / CONNECTIONS) * periodMs;
    for (let dueAt = first; dueAt < until; dueAt += periodMs) {
      await pauseUntil(site, dueAt);
      await buy(quick, customer, "tok_ok", dueAt, phase.quickMs);
    }
  };
  // Slow orders do not wait for each other.
  const slowStream = async () => {
    const sent: Promise<void>[] = [];
    const first = performance.now();
    for (let dueAt = first; slowPerSecond > 0 && dueAt < until; dueAt += 1_000 / slowPerSecond) {
      await pauseUntil(site, dueAt);
      sent.push(buy(slow, any(buyers), "tok_slow", dueAt, phase.slowMs));
    }
    await Promise.all(sent);
  };
  await Promise.all([...buyers.map(connection), slowStream()]);
  return phase;
}

/** Returns at once where it is late already. */
async function pauseUntil(site: Site, dueAt: number): Promise<void> {
  const ms = dueAt - performance.now();
  if (ms > 0) await site.pause(ms);
}
