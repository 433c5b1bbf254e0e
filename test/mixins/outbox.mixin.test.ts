/** The relay of an outbox, over real PostgreSQL: it publishes what is unpublished, in whatever order rows commit. */
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { ServiceBroker, type ServiceSchema } from "moleculer";
import pg from "pg";
import { newId } from "../../lib/ids.ts";
import { actorsMixin } from "../../mixins/actors.mixin.ts";
import { type Database, openDatabase } from "../../mixins/database.mixin.ts";
import { type OutboxEvent, outboxMixin } from "../../mixins/outbox.mixin.ts";
import { cloneDatabases, type TestDatabases } from "../harness/databases.ts";
import { until } from "../support/until.ts";

let databases: TestDatabases;
let db: Database;
let broker: ServiceBroker;
/** Keys of the events as they came. */
let received: string[];
let beforeReceipt: () => void;
beforeAll(async () => {
  databases = await cloneDatabases(["order"]);
  db = openDatabase(databases.urlOf("order"), 2);
  broker = new ServiceBroker({ logger: false, skipProcessEventRegistration: true });
  broker.createService({
    name: "teller",
    mixins: [actorsMixin, outboxMixin("listener.receive")],
    created() {
      this.db = db;
    },
  } as ServiceSchema);
  broker.createService({
    name: "listener",
    actions: {
      receive({ params }: { params: { events: OutboxEvent[] } }) {
        beforeReceipt();
        received.push(...params.events.map(({ key }) => key));
      },
    },
  } as ServiceSchema);
  await broker.start();
});
beforeEach(() => {
  received = [];
  beforeReceipt = () => undefined;
});
afterAll(async () => {
  await broker?.stop();
  await db?.close();
  await databases?.drop();
});

const INSERT =
  "insert into outbox (type, version, key, payload) values ('told', 1, $1, '{}') returning sequence";

/** Writes an event and leaves its transaction open. */
async function begin(): Promise<{ client: pg.Client; key: string; sequence: number }> {
  const client = new pg.Client({ connectionString: databases.urlOf("order") });
  await client.connect();
  await client.query("begin");
  const key = newId();
  const { rows } = await client.query<{ sequence: string }>(INSERT, [key]);
  return { client, key, sequence: Number(rows[0]?.sequence) };
}
async function end({ client }: { client: pg.Client }, how: "commit" | "rollback"): Promise<void> {
  await client.query(how);
  await client.end();
}
const arrival = (key: string) => until(`the event ${key} arrives`, () => received.includes(key));
const unpublished = async (): Promise<number> =>
  (
    await db.query<{ n: number }>({
      text: "select count(*)::int as n from outbox where published_at is null",
    })
  ).rows[0]?.n as number;

test("a lower number that commits later is published, and until then holds up nobody", async () => {
  const [early, late] = [await begin(), await begin()];
  expect(early.sequence).toBeLessThan(late.sequence);
  await end(late, "commit");
  await arrival(late.key);
  expect(received).toEqual([late.key]);
  await end(early, "commit");
  await arrival(early.key);
  await until("both are marked", async () => (await unpublished()) === 0);
  expect(received).toEqual([late.key, early.key]);
});

test("a number that was never committed is a gap, and stalls nothing", async () => {
  const [gap, next] = [await begin(), await begin()];
  await end(gap, "rollback");
  await end(next, "commit");
  await arrival(next.key);
  expect(received).toEqual([next.key]);
});

test("what the receiver did not take is published again, and marked only then", async () => {
  const event = await begin();
  let refused = 0;
  beforeReceipt = () => {
    if (refused++ === 0) throw new Error("not now");
  };
  await end(event, "commit");
  await until("it was refused", () => refused > 0);
  expect(await unpublished()).toBe(1);
  await arrival(event.key);
  await until("it is marked", async () => (await unpublished()) === 0);
});
