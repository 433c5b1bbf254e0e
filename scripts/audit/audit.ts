/**
 * Audits the shop: I1 to I5 of the commit protocol across all its databases, reading only, on a live shop too.
 *
 * Snapshots of separate databases are not simultaneous, and transactions are on their way between them. Hence two
 * steps. First everything is read once, each database in one snapshot, and merged by txId; what is not clean
 * (a fault, or unfinished) becomes a suspect. Then the suspects alone are read again, after pauses, until they are
 * clean: records only move forward, so skew disappears by the next look and a live transaction finishes within
 * seconds. What remains is true: a fault seen in every look is a violation, what is still unfinished is in doubt.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { DatabaseName } from "../../config/index.ts";
import { readEvents } from "./events.ts";
import {
  readTransactions,
  readWatermark,
  TRANSACTION_DATABASES,
  type TransactionRecords,
} from "./records.ts";
import { type AuditReport, type InvariantId, invariantReport } from "./report.ts";
import { type Explanation, type Judgement, judge } from "./rules.ts";
import { withSnapshots } from "./snapshot.ts";
import { auditStock } from "./stock.ts";

export type DatabaseUrls = Readonly<Partial<Record<DatabaseName, string>>>;

export interface AuditOptions {
  /** Ids of orders whose 201 somebody received: each must be there and confirmed. */
  acknowledged?: Iterable<string>;
  /** Every event that was published before this call has been passed by its consumers: where there is Kafka, only it can tell. */
  eventsSettled?: boolean;
  /** How long to wait for what is unfinished, in milliseconds; 5 s by default, the longest a checkout may take. */
  settleMs?: number;
}

const DATABASES = [...TRANSACTION_DATABASES, "notification"] as const;
const SETTLE_MS = 5_000;
/** No checkout on its way is older than its deadline: what is, was left behind. */
const PASSING_MS_MAX = 5_000;
/** I4's patience. */
const DOUBT_MS_MAX = 60_000;
/** A fault must be seen this often in a row, in looks this far apart. */
const LOOKS_MIN = 4;
const PAUSE_MS = 250;

/** `urls` needs order, product, payment, transaction-manager and notification. Throws where one cannot be read. */
export async function audit(urls: DatabaseUrls, options: AuditOptions = {}): Promise<AuditReport> {
  const startedAt = performance.now();
  const settled = options.eventsSettled ?? false;
  const first = await firstLook(urls, new Set(options.acknowledged), settled);
  const doubtful = unfinishedIn(first.seen).filter(([, judgement]) => ageOf(judgement) > PASSING_MS_MAX);
  const last = await lookAgain(urls, first.seen, options.settleMs ?? SETTLE_MS, settled);

  const doubts = new Map([...doubtful, ...unfinishedIn(last)]);
  const overdue = [...doubts]
    .filter(([, judgement]) => ageOf(judgement) > DOUBT_MS_MAX)
    .map(
      ([txId, judgement]) =>
        `transaction ${txId}: ${judgement.unfinished.map(({ what, ageMs }) => `${what} for ${Math.round(ageMs / 1000)} s`).join(", ")}`,
    );
  const faults = (id: InvariantId) =>
    [...last.suspects.values()].flatMap(({ faults }) =>
      faults.filter((fault) => fault.invariant === id).map((fault) => fault.text),
    );
  const { checked, stock } = first;
  const invariants = [
    invariantReport("I1", stock.checked, stock.violations),
    invariantReport("I2", checked.confirmed, faults("I2")),
    invariantReport("I3", checked.confirmed, [...faults("I3"), ...first.lost]),
    invariantReport("I4", checked.transactions, [...overdue, ...faults("I4")]),
    invariantReport("I5", checked.events, [
      ...faults("I5"),
      ...[...last.events.values()].map(({ text }) => text),
    ]),
  ];
  return {
    ok: invariants.every((invariant) => invariant.ok),
    inDoubt: doubts.size,
    doubts: countOf([...doubts.values()].flatMap(({ unfinished }) => unfinished.map(({ what }) => what))),
    invariants,
    heuristics: [...new Map([...first.seen.heuristics, ...last.heuristics])].map(([txId, heuristic]) => ({
      txId,
      ...heuristic,
    })),
    inFlight: unfinishedIn(first.seen).length,
    durationMs: Math.round(performance.now() - startedAt),
  };
}

/** What was not clean, with the number of looks in a row that saw a fault in it. */
interface Suspicions {
  suspects: Map<string, Judgement & { looks: number }>;
  /** Faults of events by the event's id. */
  events: Map<string, { text: string; looks: number }>;
  heuristics: Map<string, Explanation>;
}

const none = (): Suspicions => ({ suspects: new Map(), events: new Map(), heuristics: new Map() });

/** Takes what a look sees into a new Suspicions that continues `before`. */
function collector(before: Suspicions, watermark: string) {
  const seen = none();
  return {
    seen,
    transaction(txId: string, records: TransactionRecords) {
      const judgement = judge(txId, records, watermark);
      const { faults, unfinished, heuristic } = judgement;
      if (heuristic) seen.heuristics.set(txId, heuristic);
      if (faults.length === 0 && unfinished.length === 0) return;
      const looks = faults.length > 0 ? (before.suspects.get(txId)?.looks ?? 0) + 1 : 0;
      seen.suspects.set(txId, { ...judgement, looks });
    },
    event(eventId: string, fault: string | undefined) {
      if (fault)
        seen.events.set(eventId, { text: fault, looks: (before.events.get(eventId)?.looks ?? 0) + 1 });
    },
  };
}

function unfinishedIn({ suspects }: Suspicions): [string, Judgement][] {
  return [...suspects].filter(([, { unfinished }]) => unfinished.length > 0);
}

function countOf(kinds: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of kinds) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

const ageOf = ({ unfinished }: Judgement): number => Math.max(...unfinished.map(({ ageMs }) => ageMs));

async function firstLook(urls: DatabaseUrls, acknowledged: Set<string>, settled: boolean) {
  return withSnapshots(urls, DATABASES, async (snapshots) => {
    const { seen, ...collect } = collector(none(), await readWatermark(snapshots["transaction-manager"]));
    const checked = { transactions: 0, confirmed: 0, events: 0 };
    // An acknowledged order was confirmed before its id was written down, hence before this snapshot.
    const missing = new Map([...acknowledged].map((id) => [id, "it is not there"]));
    await readTransactions(snapshots, (txId, records) => {
      checked.transactions++;
      const state = records.order?.state;
      if (state === "committed") {
        checked.confirmed++;
        missing.delete(txId);
      } else if (state && missing.has(txId)) missing.set(txId, `it is ${state}`);
      collect.transaction(txId, records);
    });
    await readEvents(
      snapshots,
      (eventId, fault) => {
        checked.events++;
        collect.event(eventId, fault);
      },
      { settled },
    );
    const lost = [...missing].map(([id, why]) => `order ${id} was acknowledged with 201, and ${why}`);
    return { seen, checked, lost, stock: await auditStock(snapshots.product) };
  });
}

/** Reads suspects again until every fault was seen LOOKS_MIN times in a row, and nothing unfinished is waited for. */
async function lookAgain(
  urls: DatabaseUrls,
  first: Suspicions,
  settleMs: number,
  settled: boolean,
): Promise<Suspicions> {
  const givesUpAt = performance.now() + settleMs;
  let last = first;
  for (;;) {
    const waiting = unfinishedIn(last).length > 0 && performance.now() < givesUpAt;
    const faulty = [...last.suspects.values(), ...last.events.values()];
    if (!waiting && faulty.every(({ looks }) => looks === 0 || looks >= LOOKS_MIN)) return last;
    await sleep(PAUSE_MS);
    last = await lookOnce(urls, last, settled);
  }
}

function lookOnce(urls: DatabaseUrls, before: Suspicions, settled: boolean): Promise<Suspicions> {
  return withSnapshots(urls, DATABASES, async (snapshots) => {
    const { seen, ...collect } = collector(before, await readWatermark(snapshots["transaction-manager"]));
    await readTransactions(snapshots, collect.transaction, [...before.suspects.keys()]);
    await readEvents(snapshots, collect.event, { ids: [...before.events.keys()], settled });
    return seen;
  });
}
