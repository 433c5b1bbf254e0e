/**
 * kill -9 of the whole shop at random moments while an order book is replayed, and a restart each time. After each:
 * nothing is in doubt 5 s after ready, the audit is clean, and every order whose 201 the replay has on disk is there
 * and confirmed. The replay itself must come through all of it with exit code 0.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { percentile } from "../../scripts/replay/report.ts";
import type { Drill } from "./drill.ts";
import { anySeed, seeded } from "./random.ts";
import { Replays } from "./replays.ts";
import { auditLine, Shop } from "./shop.ts";
import type { Site } from "./site.ts";

const SETTLED_MS = 5_000;
/** A kill this many orders before the end of a pass could come too late to hit an order. */
const ORDERS_LEFT_MIN = 100;
/** After the chosen order: so that a kill does not always follow an answer. */
const JITTER_MS_MAX = 20;

export const killReplay: Drill = {
  name: "kill-replay",
  about:
    "kill -9 of the shop during a replay, ten times: nothing stays in doubt, no 201 is lost, one order per key",
  takes: ["times", "seed", "invoices", "file", "concurrency", "postgres"],
  async run(site, options) {
    const {
      times = 10,
      seed = anySeed(),
      invoices = 3_000,
      file,
      concurrency = 8,
      postgres = false,
    } = options;
    if (invoices < 5 * ORDERS_LEFT_MIN)
      throw new Error(
        `--invoices ${invoices}: expected at least ${5 * ORDERS_LEFT_MIN}, to have time for a kill`,
      );
    site.say(`--seed ${seed}`);
    const random = seeded(seed);
    const shop = await Shop.open(site);
    const replays = await Replays.begin(site, {
      url: shop.url,
      concurrency,
      invoices,
      file,
      random: seeded(seed),
    });
    const unfinishedAtKill: (number | null)[] = [];
    const inDoubtRightAfter: number[] = [];
    const inDoubt5sAfterReady: number[] = [];
    const readyMs: number[] = [];
    let auditOk = true;
    for (let n = 0; n < times; n++) {
      await momentOf(n, times, replays, random, invoices, site);
      const at = replays.acknowledged;
      await shop.kill();
      if (postgres) await shop.killPostgres();
      // Whatever the shop had begun and not finished, where there still is a server to ask.
      const left = postgres ? undefined : await shop.audit({ settleMs: 0 });
      unfinishedAtKill.push(left?.inFlight ?? null);
      const ms = await shop.start();
      const readyAt = performance.now();
      readyMs.push(ms);
      const right = await shop.audit({ settleMs: 0 });
      inDoubtRightAfter.push(right.inDoubt);
      await site.pause(Math.max(0, SETTLED_MS - (performance.now() - readyAt)));
      const settled = await shop.audit({ acknowledged: await replays.acknowledgedIds() });
      inDoubt5sAfterReady.push(settled.inDoubt);
      auditOk &&= settled.ok && right.ok && (left?.ok ?? true);
      site.say(
        `kill ${n + 1} of ${times} after ${at} orders: ${left ? `${left.inFlight} unfinished, ` : ""}ready in ${ms} ms; 5 s later: ${auditLine(settled)}`,
      );
    }
    site.say("waiting for the replay to end");
    await replays.finish();
    const ids = await replays.acknowledgedIds();
    const last = await shop.audit({ acknowledged: ids });
    site.say(`at the end: ${auditLine(last)}`);
    const confirmed = await countConfirmed(shop, ids);
    await shop.stop();

    const sum = (name: "created" | "replayed" | "retries") =>
      replays.reports.reduce((total, report) => total + report[name], 0);
    const rejected: Record<string, number> = {};
    for (const report of replays.reports)
      for (const [code, { count }] of Object.entries(report.rejected))
        rejected[code] = (rejected[code] ?? 0) + count;
    const lost = ids.length - confirmed.acknowledged;
    const ordersAnswered = sum("created") + sum("replayed");
    auditOk &&= last.ok && last.inDoubt === 0;
    const sorted = readyMs.toSorted((a, b) => a - b);
    return {
      seed,
      kills: times,
      postgresToo: postgres,
      passes: replays.reports.length,
      ordersCreated: sum("created"),
      replayed: sum("replayed"),
      rejected,
      retries: sum("retries"),
      confirmedInDatabase: confirmed.all,
      unfinishedAtKill,
      inDoubtRightAfter,
      inDoubt5sAfterReady,
      acknowledged: ids.length,
      lost,
      auditOk,
      readyMsP50: percentile(sorted, 0.5),
      readyMsMax: sorted.at(-1) ?? 0,
      ok:
        auditOk &&
        lost === 0 &&
        inDoubt5sAfterReady.every((n) => n === 0) &&
        replays.reports.every(({ complete }) => complete) &&
        // A generated book has stock for everything; a given one may sell out.
        (file !== undefined || Object.keys(rejected).length === 0) &&
        // One order per key: what was confirmed behind a client's back would be one too many.
        confirmed.all === ordersAnswered &&
        ids.length === ordersAnswered,
    };
  },
};

/**
 * Waits for a random moment of the orders phase. Of a given file, kill n falls into its n-th part if the shop is back
 * by then; generated books follow each other, so there any moment will do.
 */
async function momentOf(
  n: number,
  times: number,
  replays: Replays,
  random: () => number,
  invoices: number,
  site: Site,
): Promise<void> {
  const [share, jitterMs] = [random(), random() * JITTER_MS_MAX];
  const from = replays.acknowledged;
  for (;;) {
    if (replays.hasEnded) {
      await replays.finish(); // throws, where that is why
      throw new Error(`the replay was over after ${n} of ${times} kills: lower --concurrency or --times`);
    }
    const ofFile = replays.ordersOfFile;
    const target =
      ofFile === undefined
        ? from + 1 + Math.floor((share * invoices) / 2)
        : ((n + share) * (ofFile - 2 * ORDERS_LEFT_MIN)) / times;
    if (replays.acknowledged > target && (replays.ordersLeft ?? 0) >= ORDERS_LEFT_MIN) break;
    await site.pause(2);
  }
  await sleep(jitterMs);
}

async function countConfirmed(shop: Shop, ids: string[]): Promise<{ all: number; acknowledged: number }> {
  const [row] = await shop.query<{ everything: number; acknowledged: number }>(
    "order",
    `select count(*)::int as everything, count(*) filter (where id = any($1))::int as acknowledged
     from orders where state = 'committed'`,
    [ids],
  );
  return { all: row?.everything ?? 0, acknowledged: row?.acknowledged ?? 0 };
}
