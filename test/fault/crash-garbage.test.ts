/**
 * Killed around every durable step of garbage collection: seal, watermark, deletion. However far it came, the rest is
 * deleted later, orders and keys stay, and every message that is sent again changes nothing.
 */
import { describe, expect } from "@jest/globals";
import type { ServiceName } from "../../config/index.ts";
import { until } from "../support/until.ts";
import { type Crash, crash, threeWays, titleOf } from "./fleet/crash.ts";
import { type Answer, CHECKOUT, type Fleet } from "./fleet/fleet.ts";
import { testRows } from "./fleet/lanes.ts";
import { declined, plain } from "./fleet/loads.ts";
import type { ShopNode } from "./fleet/node.ts";

const RETAIN_NOTHING = { DECISION_RETENTION_HOURS: "0" };
const ANY = ["either", "either", "either"] as const;

/** Orders that are done, and refused ones; then their records are collected. */
const collected = (collector: "victim" | "rest"): Partial<Crash> => {
  const done = new WeakMap<Fleet, Answer[]>();
  return {
    async provoke(fleet, edge) {
      const purchases = [...(await plain(fleet, edge)), ...(await declined(fleet, edge))];
      done.set(fleet, await Promise.all(purchases.map((purchase) => fleet.buy(edge, purchase))));
      await until("all is collected", () => isCollected(fleet, collector), 20_000, 50);
    },
    async holds(fleet, edge) {
      await until("all is collected", () => isCollected(fleet, collector), 20_000, 50);
      const answers = done.get(fleet) ?? [];
      expect(answers.length).toBeGreaterThan(0);
      for (const { id } of answers) if (id) await nothingComesBack(edge, id);
      await fleet.keysHold(edge, answers);
    },
  };
};

async function isCollected(fleet: Fleet, collector: string): Promise<boolean> {
  await fleet.node(collector).collect();
  const [decisions, votes] = await Promise.all([
    fleet.query("transaction-manager", "select 1 from decisions"),
    fleet.query("product", "select 1 from reservations where state = 'committed'"),
  ]);
  return decisions.length + votes.length === 0;
}

/** Product's vote is gone for good; payment's stays, because it is the payment, and it is not charged again. */
async function nothingComesBack(edge: ShopNode, txId: string): Promise<void> {
  const tell = async (action: string) => (await edge.call(action, { txIds: [txId] })).value;
  expect(await tell("product.commit")).toEqual(["forgotten"]);
  expect(await tell("product.abort")).toEqual(["forgotten"]);
  expect(await tell("payment.commit")).toEqual(["done"]);
}

function testCollections(victim: ServiceName, collector: "victim" | "rest", points: string[]): void {
  const rows = points.flatMap((at) => threeWays(at, ANY, collected(collector)));
  testRows(
    { victim: [victim], rest: CHECKOUT.filter((name) => name !== victim) },
    rows.map((row) => ({ title: titleOf(victim, row), run: (fleet) => crash(fleet, row) })),
    { victim: RETAIN_NOTHING, rest: RETAIN_NOTHING },
  );
}

describe("a manager", () =>
  testCollections("transaction-manager", "victim", ["raise-watermark", "prune-decisions"]));
describe("a participant", () =>
  testCollections("product", "rest", ["update seal", "update seal + commit", "prune-reservations"]));
