/** How much mail is taken up at once: what others leave of the event loop. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Supervisor } from "../../../actors/supervisor.ts";
import { type Database, openDatabase } from "../../../mixins/database.mixin.ts";
import { Outage } from "../../../mixins/events/outage.ts";
import { Mailer } from "../../../services/notification/mailer.ts";
import { cloneDatabases, type TestDatabases } from "../../harness/databases.ts";
import { gate } from "../../support/until.ts";

const logger = { info: () => undefined, warn: () => undefined, error: () => undefined };

let databases: TestDatabases;
let db: Database;
beforeAll(async () => {
  databases = await cloneDatabases(["notification"]);
  db = openDatabase(databases.urlOf("notification"), 2);
});
afterAll(async () => {
  await db?.close();
  await databases?.drop();
});

test("a busy loop has few mails in hand, a free one many, and a full one still some", async () => {
  await db.query({
    text: `with told as (
             insert into notifications (event_id, type, version, time, status, user_id, content)
             select gen_random_uuid(), 'user.registered', 1, now(), 'mailed', gen_random_uuid(), '{"name":"","email":""}'
             from generate_series(1, 400) returning event_id
           )
           insert into mails (event_id) select event_id from told`,
  });
  const supervisor = new Supervisor(logger as never);
  const door = gate();
  let sending = 0;
  let use = 1;
  const mailer = new Mailer({
    db,
    supervisor,
    logger,
    loopUse: () => use,
    outages: { server: new Outage("mail", logger), contacts: new Outage("user", logger) },
    contactsOf: async (ids) => new Map(ids.map((id) => [id, { id, name: "Ann", email: "ann@example.com" }])),
    port: {
      ready: async () => undefined,
      async send() {
        sending++;
        await door.promise;
        return { kind: "sent" };
      },
      finish: () => undefined,
      close: () => undefined,
    } as never,
  });
  const inHand = async (share: number) => {
    use = share;
    await mailer.look();
    return sending;
  };
  expect(await inHand(1)).toBe(5);
  expect(await inHand(0.9)).toBe(15);
  expect(await inHand(0)).toBe(150);
  expect(await inHand(0.5)).toBe(150);
  door.open();
  await mailer.stop();
  await supervisor.stop();
});
