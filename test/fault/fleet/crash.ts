/**
 * A table of crashes becomes tests. Each row: buy, kill the victim at its point, look (nothing false on snapshots),
 * start it again, and within seconds nothing is in doubt, every 201 is there, the bank agrees, and every key
 * leads to its one order. Rows run side by side in fleets of their own, because most of a crash is waiting.
 */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { ServiceName } from "../../../config/index.ts";
import { newId } from "../../../lib/ids.ts";
import { startNats } from "../../../scripts/servers/nats.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import { entryOf } from "../../support/replica.ts";
import { until } from "../../support/until.ts";
import { type Answer, CHECKOUT, Fleet, type Purchase } from "./fleet.ts";
import type { Hit, When } from "./messages.ts";
import type { ShopNode } from "./node.ts";

/** I4 allows 60 s. An abort that nobody stored is presumed after 3.5 s and carried out within 5; the rest is for a busy
 *  machine. */
const SETTLED_MS = 8_000;

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
  /** The victim stays away until its clients have been answered, instead of coming back in time for another try. */
  isAway?: true;
}

const TITLES = { before: "before", middle: "in the middle of", after: "after" };
const OUTCOMES = {
  commit: "it commits everywhere",
  abort: "it aborts everywhere",
  either: "everybody follows what is stored",
};

export const plain = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  return Array.from({ length: 4 }, () => ({ productId }));
};
/** Of four, two find stock. */
export const scarce = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge, 2);
  return Array.from({ length: 4 }, () => ({ productId }));
};
/** One card is declined among others that are good. */
export const declined = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  return [{ productId, card: "tok_declined" }, { productId }];
};
/** The bank fails, which is no vote, so an abort has to be stored. */
export const unanswered = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  return [
    { productId, card: "tok_error" },
    { productId, card: "tok_error" },
  ];
};

/** Nothing is in stock any more, as the card finds out late. */
export const soldOut = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge, 1);
  return [
    { productId, quantity: 2 },
    { productId, quantity: 2 },
  ];
};
/** The price has changed since it was quoted, so the order is placed again in place of its first attempt. */
export const requoted = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  await fleet.insist(edge, { productId, quantity: 1, card: "tok_ok", key: randomUUID() });
  await fleet.query("product", "update products set price = price + 1 where id = $1", [productId]);
  return [{ productId }];
};
/** The bank captures nothing at first, so a capture is owed. */
export const bankAway = async (fleet: Fleet, edge: ShopNode): Promise<Purchase[]> => {
  const productId = await fleet.addProduct(edge);
  let refused = 0;
  fleet.bank.beforeCapture = () => {
    if (refused++ < 2) throw new Error("the bank is closed");
  };
  return [{ productId }, { productId }];
};

/** An abort overtakes its prepare. However the participant dies of it, the prepare that comes late is refused. */
export const tombstones = (
  participant: "order" | "product" | "payment",
  request: object,
): Partial<Crash> => ({
  provoke: (_, edge) => edge.call(`${participant}.abort`, { txIds: [newId()] }),
  async holds(_, edge, { txIds }) {
    expect((await edge.call(`${participant}.abort`, { txIds })).value).toEqual(["done"]);
    expect(await prepareOf(edge, participant, txIds[0] as string, request, 60_000)).toMatchObject({
      kind: "no",
    });
  },
});
/** A prepare comes too late. However the participant dies of it, the answer to its repeat is the no that is recorded. */
export const refusals = (participant: "order" | "payment", request: object): Partial<Crash> => ({
  provoke: (_, edge) => prepareOf(edge, participant, newId(), request, 0),
  async holds(_, edge, { txIds }) {
    const no = { kind: "no", reason: "deadline_exceeded" };
    expect(await prepareOf(edge, participant, txIds[0] as string, request, 0)).toMatchObject(no);
    expect(await prepareOf(edge, participant, txIds[0] as string, request, 60_000)).toMatchObject(no);
  },
});

async function prepareOf(
  edge: ShopNode,
  participant: string,
  txId: string,
  request: object,
  budgetMs: number,
): Promise<unknown> {
  const entries = [entryOf(request, { txId, budgetMs })];
  return (await edge.call<unknown[]>(`${participant}.prepare`, { entries })).value[0];
}

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

const LANES = 3;

export function describeCrashes(victim: readonly ServiceName[], rows: readonly Crash[]): void {
  let nats: Server;
  const free: Fleet[] = [];
  const all: Fleet[] = [];
  const rest = CHECKOUT.filter((name) => !victim.includes(name));
  const titleOf = ({ at, when, outcome, load, isAway }: Crash): string =>
    `${victim.join(" and ")} dies ${TITLES[when]} ${at}${load ? ` (${load.name})` : ""}${isAway ? " and stays away" : ""}: ${OUTCOMES[outcome]}`;
  beforeAll(async () => {
    nats = await startNats();
    const nodes = { victim, rest };
    await Promise.all(
      Array.from({ length: LANES }, async () => {
        const fleet = await Fleet.start({ nodes, nats });
        all.push(fleet);
        free.push(fleet);
      }),
    );
  }, 60_000);

  const begun = new Map<number, Promise<void>>();
  const begin = (index: number): Promise<void> | undefined => {
    const row = rows[index];
    if (!row) return undefined;
    let running = begun.get(index);
    if (!running) {
      running = inTurn(row);
      running.catch(() => undefined); // its own test hears of it
      begun.set(index, running);
    }
    return running;
  };
  const inTurn = async (row: Crash): Promise<void> => {
    const fleet = await until("a fleet is free", () => free.shift(), 120_000);
    try {
      await crash(fleet, row);
    } finally {
      // A row that failed may have left its victim alive and armed, or dead.
      const node = fleet.node("victim");
      if (node.hasEnded) await fleet.replace("victim");
      free.push(fleet);
    }
  };

  test.each(rows.map((row, index) => ({ ...row, index, title: titleOf(row) })))(
    "$title",
    async ({ index }) => {
      for (let ahead = 1; ahead < LANES; ahead++) begin(index + ahead);
      await begin(index);
    },
    60_000,
  );

  afterAll(async () => {
    await Promise.allSettled(begun.values());
    await Promise.all(all.map((fleet) => fleet.stop()));
    await nats?.stop();
  }, 60_000);
}

async function crash(
  fleet: Fleet,
  { at, when, nth = 1, outcome, load = plain, provoke, holds, isAway }: Crash,
): Promise<void> {
  const [victim, edge] = [fleet.node("victim"), fleet.node("rest")];
  const purchases = provoke ? [] : await load(fleet, edge);
  await victim.arm({ point: at, when, nth });
  const provoked = provoke?.(fleet, edge).catch(() => undefined);
  const buying = purchases.map((purchase) => fleet.buy(edge, purchase));
  await victim.death();
  const hit = victim.hits.at(-1);
  if (!hit) throw new Error(`the victim died, and not at ${at}`);

  await fleet.audit();

  if (isAway) await Promise.all(buying);
  await fleet.replace("victim");
  await fleet.settled(SETTLED_MS);
  await provoked;
  await outcomeIs(fleet, outcome, hit);
  await holds?.(fleet, edge, hit);

  const first = await Promise.all(buying);
  await keysHold(fleet, edge, first);
  await fleet.settled(SETTLED_MS);
  for (const node of Object.values(fleet.nodes))
    expect(node.errors.filter((line) => line.includes("needs an operator"))).toEqual([]);
}

/** The orders of the transactions that were hit; agreement with everybody else is the audit's business. */
async function outcomeIs(fleet: Fleet, outcome: Crash["outcome"], { txIds }: Hit): Promise<void> {
  if (outcome === "either") return;
  const rows = await fleet.query<{ id: string; state: string }>(
    "order",
    "select id, state from orders where id = any($1::uuid[])",
    [txIds],
  );
  const committed = rows.filter(({ state }) => state === "committed").map(({ id }) => id);
  expect(committed.toSorted()).toEqual(outcome === "commit" ? txIds.toSorted() : []);
}

/** Repeating a request with its key gives the answer that was given, or the first final one; never a second order. */
async function keysHold(fleet: Fleet, edge: ShopNode, first: Answer[]): Promise<void> {
  const again = await Promise.all(first.map(({ purchase }) => fleet.insist(edge, purchase)));
  const confirmed = await fleet.confirmedBy(first.map(({ purchase }) => purchase.key));
  for (const [i, { purchase, status, id }] of again.entries()) {
    if (first[i]?.status === 201) expect({ status, id }).toEqual({ status: 201, id: first[i]?.id });
    expect(confirmed.get(purchase.key) ?? []).toEqual(status === 201 ? [id] : []);
  }
}
