/**
 * A table of crashes becomes tests. Each row: buy, kill the victim at its point, look (nothing false on snapshots),
 * start it again, and within seconds nothing is in doubt, every 201 is there, the bank agrees, and every key
 * leads to its one order.
 */
import { expect } from "@jest/globals";
import type { ServiceName } from "../../../config/index.ts";
import { until } from "../../support/until.ts";
import { type Answer, CHECKOUT, type Fleet, type Purchase } from "./fleet.ts";
import { testRows } from "./lanes.ts";
import { plain } from "./loads.ts";
import type { Hit, When } from "./messages.ts";
import type { ShopNode } from "./node.ts";

export interface Crash {
  at: string;
  when: When;
  /** What becomes of the transactions that the statement or message was about. */
  outcome: "commit" | "abort" | "either";
  /** What makes the victim come to its point; by default four purchases at once. */
  load?: (fleet: Fleet, edge: ShopNode) => Promise<Purchase[]> | Purchase[];
  /** Instead of purchases: messages of the protocol, sent as a manager would. Its failure is part of the crash. */
  provoke?: (fleet: Fleet, edge: ShopNode) => Promise<unknown>;
  /** What else holds once the victim is back. */
  holds?: (fleet: Fleet, edge: ShopNode, hit: Hit) => Promise<void>;
  nth?: number;
  /** Names of the nodes that dies, and through which clients buy; in testCrashes they are "victim" and "rest". */
  victim?: string;
  edge?: string;
  /** The victim stays away until its transactions are decided, instead of coming back in time for another try. */
  isAway?: true;
}

const ROUNDS_MAX = 5;
const DEATH_MS_MAX = 30_000;
/** Several times what a manager waits for a vote. */
const DECIDED_MS_MAX = 30_000;

const TITLES = { before: "before", middle: "in the middle of", after: "after" };
const OUTCOMES = {
  commit: "it commits everywhere",
  abort: "it aborts everywhere",
  either: "everybody follows what is stored",
};

/** Every point in each of the three ways: before it, nothing of it is durable; after it, all is. */
export const threeWays = (
  at: string,
  outcomes: readonly [before: Crash["outcome"], middle: Crash["outcome"], after: Crash["outcome"]],
  rest: Partial<Crash> = {},
): Crash[] =>
  (["before", "middle", "after"] as const).map((when, i) => ({
    at,
    when,
    outcome: outcomes[i] as Crash["outcome"],
    ...rest,
  }));

export const titleOf = (who: string, { at, when, outcome, load, isAway }: Crash): string =>
  `${who} dies ${TITLES[when]} ${at}${load ? ` (${load.name})` : ""}${isAway ? " and stays away" : ""}: ${OUTCOMES[outcome]}`;

/** The victim is one process, and the rest of the shop another, through which clients buy. */
export function testCrashes(victim: readonly ServiceName[], rows: readonly Crash[]): void {
  const rest = CHECKOUT.filter((name) => !victim.includes(name));
  testRows(
    { victim, rest },
    rows.map((row) => ({ title: titleOf(victim.join(" and "), row), run: (fleet) => crash(fleet, row) })),
  );
}

export async function crash(fleet: Fleet, row: Crash): Promise<void> {
  const { at, when, nth = 1, outcome, load = plain, provoke, holds, isAway } = row;
  const name = row.victim ?? "victim";
  const [victim, edge] = [fleet.node(name), fleet.node(row.edge ?? "rest")];
  const purchases = provoke ? [] : await load(fleet, edge);
  await victim.arm({ point: at, when, nth });
  const provoked = provoke?.(fleet, edge).catch(() => undefined);
  const buying = purchases.map((purchase) => fleet.buy(edge, purchase));
  await deathOf(victim, buying, () => purchases.map((purchase) => fleet.buy(edge, purchase)));
  const hit = victim.hits.at(-1);
  if (!hit) throw new Error(`the victim died, and not at ${at}`);
  await fleet.audit();

  if (isAway) await until("it is decided", () => fleet.isDecided(hit.txIds), DECIDED_MS_MAX);
  await fleet.replace(name);
  await fleet.settled();
  await provoked;
  if (outcome !== "either")
    expect(await fleet.confirmedAmong(hit.txIds)).toEqual(outcome === "commit" ? hit.txIds.toSorted() : []);
  await holds?.(fleet, edge, hit);
  await fleet.keysHold(edge, await Promise.all(buying));
  await fleet.settled();
}

/** On a machine too busy for the time limits of a checkout nobody may come to the point: then clients try again. */
async function deathOf(
  victim: ShopNode,
  buying: Promise<Answer>[],
  again: () => Promise<Answer>[],
): Promise<void> {
  for (let rounds = 1; rounds < ROUNDS_MAX && buying.length > 0; rounds++) {
    await Promise.race([Promise.all(buying), victim.death(DEATH_MS_MAX)]);
    if (victim.hasEnded || victim.hits.length > 0) break;
    buying.push(...again());
  }
  await victim.death(DEATH_MS_MAX);
}
