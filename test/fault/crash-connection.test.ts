/**
 * The server ends a connection around every durable step (pg_terminate_backend), while all processes live: whether the
 * statement was carried out is then unknown to who sent it. Nobody answers from memory; the work is repeated or looked
 * up, and clients notice nothing.
 */
import { expect } from "@jest/globals";
import { until } from "../support/until.ts";
import { CHECKOUT, type Fleet } from "./fleet/fleet.ts";
import { testRows } from "./fleet/lanes.ts";
import { bankAway, declined, plain, scarce, unpublished } from "./fleet/loads.ts";
import type { When } from "./fleet/messages.ts";

interface Loss {
  at: string;
  load?: typeof plain;
}

/** Nothing stands against these, so all of them must be confirmed. */
const SOUND = [plain, unpublished];

const LOSSES: readonly Loss[] = [
  { at: "decide" },
  { at: "acknowledge" },
  { at: "insert-orders" },
  { at: "commit-orders" },
  { at: "abort-orders", load: declined },
  { at: "outbox-published", load: unpublished },
  { at: "inbox-taken" },
  { at: "notification_insert" },
  { at: "notification_insert + commit" },
  { at: "reserve" },
  { at: "vote", load: scarce },
  { at: "vote + commit", load: scarce },
  { at: "commit-reservations" },
  { at: "abort-reservations", load: declined },
  { at: "record-intents" },
  { at: "record-answers" },
  { at: "settle-committed" },
  { at: "settle-aborted", load: scarce },
  { at: "clear-debts", load: bankAway },
];

testRows(
  { shop: CHECKOUT },
  LOSSES.flatMap(({ at, load = plain }) =>
    (["before", "middle", "after"] as const).map((when) => ({
      title: `the connection is lost ${when === "middle" ? "in the middle of" : when} ${at}: ${SOUND.includes(load) ? "every order is confirmed" : "nothing is false"}`,
      run: (fleet: Fleet) => lose(fleet, at, when, load),
    })),
  ),
);

async function lose(fleet: Fleet, at: string, when: When, load: typeof plain): Promise<void> {
  const shop = fleet.node("shop");
  const purchases = await load(fleet, shop);
  await shop.arm({ point: at, when, deed: "terminate" });
  const answers = await Promise.all(purchases.map((purchase) => fleet.buy(shop, purchase)));
  if (SOUND.includes(load)) expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
  await until(`the connection is lost at ${at}`, () => shop.hits.length > 0);
  await fleet.audit();
  await fleet.settled();
  await fleet.keysHold(shop, answers);
  await fleet.settled();
}
