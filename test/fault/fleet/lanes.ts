/** Runs the rows of a table side by side, each in a fleet of its own, because most of a crash is waiting. */
import { afterAll, beforeAll, test } from "@jest/globals";
import { startNats } from "../../../scripts/servers/nats.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import { describeWith } from "../../harness/servers.ts";
import { until } from "../../support/until.ts";
import { Fleet, type FleetOptions } from "./fleet.ts";

export interface Row {
  title: string;
  run(fleet: Fleet): Promise<void>;
}

/** More would wait for the processor instead. */
const LANES = 3;

/** `describe` for what needs a message server: without one it is skipped on somebody's machine, and fails in CI. */
export const describeFleet = await describeWith(startNats);

/** One test per row. While it waits, the rows that come next have begun. */
export function testRows(
  nodes: FleetOptions["nodes"],
  rows: readonly Row[],
  env: FleetOptions["env"] = {},
): void {
  describeFleet(`with ${Object.keys(nodes).length} processes`, () => testInLanes(nodes, rows, env));
}

function testInLanes(
  nodes: FleetOptions["nodes"],
  rows: readonly Row[],
  env: FleetOptions["env"] = {},
): void {
  let nats: Server;
  const free: Fleet[] = [];
  const all: Fleet[] = [];
  beforeAll(async () => {
    nats = await startNats();
    const lanes = Array.from({ length: Math.min(LANES, rows.length) }, async () => {
      const fleet = await Fleet.start({ nodes, nats, env });
      all.push(fleet);
      free.push(fleet);
    });
    await Promise.all(lanes);
  }, 120_000);

  const begun = new Map<number, Promise<void>>();
  const begin = (index: number): Promise<void> | undefined => {
    const row = rows[index];
    if (row && !begun.has(index)) {
      const running = inTurn(row);
      running.catch(() => undefined); // its own test hears of it
      begun.set(index, running);
    }
    return begun.get(index);
  };
  const inTurn = async (row: Row): Promise<void> => {
    const fleet = await until("a fleet is free", () => free.shift(), 120_000);
    try {
      await row.run(fleet);
    } finally {
      await fleet.repair();
      free.push(fleet);
    }
  };
  test.each(rows.map((row, index) => ({ title: row.title, index })))(
    "$title",
    async ({ index }) => {
      for (let ahead = 1; ahead < LANES; ahead++) begin(index + ahead);
      await begin(index);
    },
    120_000,
  );

  afterAll(async () => {
    await Promise.allSettled(begun.values());
    await Promise.all(all.map((fleet) => fleet.stop()));
    await nats?.stop();
  }, 60_000);
}
