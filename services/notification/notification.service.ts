/**
 * notification: tells users what happened. The effect of an event is a row for its user, in the transaction that takes
 * the event; its mailer then sends that as mail. Neither the mail server nor user, who knows the addresses, can make
 * anything but mail wait.
 */
import type { Context, Service, ServiceSchema } from "moleculer";
import type { Supervisor } from "../../actors/supervisor.ts";
import { ShopError } from "../../lib/errors.ts";
import type { ShopEvent } from "../../lib/event.ts";
import { stopStep } from "../../lib/stop.ts";
import { type Database, databaseMixin, type Queryable } from "../../mixins/database.mixin.ts";
import { consumerMixin } from "../../mixins/events/consumer.mixin.ts";
import { Outage } from "../../mixins/events/outage.ts";
import { measure, type Reading } from "../../mixins/measures.ts";
import type { ListAnswer, ListParams, MailState, NotificationView } from "./api.ts";
import { openMailPort } from "./mail.port.ts";
import { adoptMails, readMailState } from "./mail.repository.ts";
import { HOLD_MS, LOOK_MS, Mailer } from "./mailer.ts";
import { cursorOf, placeOf } from "./notification.cursor.ts";
import { insertNotifications, listNotifications, type NotificationRow } from "./notification.repository.ts";
import { isKnown, KINDS, letterOf, notificationOf } from "./notification.ts";
import { LIST_OPENAPI } from "./openapi.ts";
import { openUserPort, type UserPort } from "./user.port.ts";

interface Vars {
  db: Database;
  supervisor: Supervisor;
  users: UserPort;
  mailer: Mailer | undefined;
  draining: Promise<void> | undefined;
  drain(): Promise<void>;
}
type NotificationService = Service & Vars;
interface Meta {
  user: { id: string } | null;
}

function viewOf(row: NotificationRow): NotificationView {
  const { id, type, status, time } = row;
  // A node of the version to come may have told something that is not known here: its user hears that there is something.
  const { subject, text } = isKnown(row) ? letterOf(row) : { subject: row.type, text: "" };
  return { id, type, subject, text, status, createdAt: time.toISOString() };
}

/** The effect of events: a row for each user, whose mail is pending. */
async function tell(this: NotificationService, tx: Queryable, events: readonly ShopEvent[]): Promise<void> {
  await insertNotifications(tx, events.map(notificationOf));
}

const notification = {
  name: "notification",
  mixins: [consumerMixin, databaseMixin("notification", new URL("./migrations/", import.meta.url))],
  settings: { rest: "/" },

  events: Object.fromEntries(KINDS.map((kind) => [kind, tell])),

  actions: {
    list: {
      rest: "GET /notifications",
      auth: "user",
      query: ["limit", "cursor"],
      idempotent: true,
      openapi: LIST_OPENAPI,
      params: {
        $$strict: true,
        limit: { type: "number", convert: true, integer: true, min: 1, max: 100, default: 20 },
        cursor: { type: "string", min: 1, max: 512, optional: true },
      },
      async handler(this: NotificationService, ctx: Context<ListParams, Meta>): Promise<ListAnswer> {
        const userId = ctx.meta.user?.id;
        if (userId === undefined) throw new ShopError("unauthorized", "Log in to see your notifications.");
        const { limit, cursor } = ctx.params;
        const place = placeOf(userId, cursor);
        // One more than asked for shows whether there is a next page.
        const rows = await listNotifications(this.db, { userId, place, limit: limit + 1 });
        const items = rows.slice(0, limit).map(viewOf);
        const last = items.at(-1);
        const more = rows.length > limit && last !== undefined;
        return {
          items,
          nextCursor: more ? cursorOf(userId, { time: last.createdAt, id: last.id }) : null,
        };
      },
    },

    // For operators.
    mailState: {
      visibility: "public",
      idempotent: true,
      params: {},
      handler(this: NotificationService): Promise<MailState> {
        return readMailState(this.db);
      },
    },
  },

  created(this: NotificationService) {
    this.users = openUserPort();
    measure(this, async () => (this.mailer ? readings(this.mailer, await readMailState(this.db)) : []));
  },

  async started(this: NotificationService) {
    const { broker, db, logger, supervisor, users } = this;
    const port = await openMailPort();
    const mailer = new Mailer({
      ...{ db, port, supervisor, logger },
      contactsOf: (ids) => users.contacts(broker, ids),
      outages: { server: new Outage(port.name, logger), contacts: new Outage("the service user", logger) },
    });
    this.mailer = mailer;
    const paced = (name: string, intervalMs: number, work: () => Promise<void>) =>
      supervisor.loop({ name, intervalMs, tick: () => work().then(() => false) });
    paced("mailer", LOOK_MS, () => mailer.look());
    paced("mail-claims", HOLD_MS, () => mailer.hold());
    supervisor.loop({ name: "mail-adoption", intervalMs: HOLD_MS, tick: () => adoptMails(db) });
  },

  methods: {
    /** Begins no mail any more, and lets what was begun end. The shop calls it when it is told to stop. */
    drain(this: NotificationService): Promise<void> {
      this.draining ??= stopStep("mail", this.logger, this.mailer?.stop());
      return this.draining;
    },
  },

  async stopped(this: NotificationService) {
    await this.drain();
    this.users.close();
  },
};

const readings = ({ totals }: Mailer, state: MailState): Reading[] => [
  ["shop_mails_total", totals.sent, { outcome: "sent" }],
  ["shop_mails_total", totals.failed, { outcome: "failed" }],
  ["shop_mail_repeats_total", totals.repeats],
  ["shop_mail_claims_lapsed_total", totals.lapsed],
  ["shop_mails_pending", state.pending],
  ["shop_mail_oldest_seconds", (state.oldestMs ?? 0) / 1_000],
  ["shop_mails_failed", state.failed],
];

export default notification as unknown as ServiceSchema;
