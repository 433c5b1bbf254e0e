/** How many events are asked for at once where there is no Kafka: what others leave of the event loop. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { type Service, ServiceBroker, type ServiceSchema } from "moleculer";
import { newId } from "../../../lib/ids.ts";
import { loopUseBetweenReadings } from "../../../lib/loop.use.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { Delivery } from "../../../mixins/events/delivery.ts";
import { readOffset } from "../../../mixins/events/inbox.rows.ts";
import { Outage } from "../../../mixins/events/outage.ts";
import { outboxMixin } from "../../../mixins/events/outbox.mixin.ts";
import { publishNext } from "../../../mixins/events/outbox.rows.ts";
import { Pull } from "../../../mixins/events/pull.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";

const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

let databases: TestDatabases;
let teller: Database;
let taker: Database;
let broker: ServiceBroker;
beforeAll(async () => {
  databases = await cloneDatabases(["order", "notification"]);
  teller = openDatabase(databases.urlOf("order"), 2);
  taker = openDatabase(databases.urlOf("notification"), 2);
  broker = new ServiceBroker({ logger: false, skipProcessEventRegistration: true });
  broker.createService({
    name: "order",
    mixins: [outboxMixin],
    created(this: Service & { db: Database }) {
      this.db = teller;
    },
  } as ServiceSchema);
  await broker.start();
});
afterAll(async () => {
  await broker?.stop();
  await teller?.close();
  await taker?.close();
  await databases?.drop();
});

test("a busy loop takes few events at once, a free one many, and a full one still some", async () => {
  await teller.query({
    text: `insert into outbox (type, version, key, payload)
           select 'order.told', 1, $1, '{}' from generate_series(1, 800)`,
    values: [newId()],
  });
  // Beside the service's own relay: all have positions when both are done.
  await publishNext(teller, 800);
  let taken = 0;
  let use = 1;
  const handler = async (_tx: unknown, events: readonly unknown[]) => {
    taken += events.length;
  };
  const delivery = new Delivery({
    ...{ service: "listener", db: taker, logger },
    handlers: new Map([["order.told.v1", handler]]),
  });
  const pull = new Pull({
    ...{ topic: "orders", service: "listener", broker, db: taker, delivery },
    outage: new Outage("the teller", logger),
    pause: async () => undefined,
    loopUse: () => use,
  });
  const takenAt = async (share: number) => {
    const before = taken;
    use = share;
    await pull.tick();
    return taken - before;
  };
  expect(await takenAt(1)).toBe(25);
  expect(await takenAt(0.8)).toBe(100);
  expect(await takenAt(0)).toBe(500);
  expect(await readOffset(taker, "orders")).toBeGreaterThanOrEqual(625);
});

test("the use of the loop is that since the reading before", async () => {
  const use = loopUseBetweenReadings();
  for (const until = performance.now() + 50; performance.now() < until; );
  expect(use()).toBeGreaterThan(0.8);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(use()).toBeLessThan(0.5);
});
