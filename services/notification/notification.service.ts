/**
 * notification: tells users what happened. It stores each message and logs what it would mail; sending is not built
 * yet.
 */
import type { Context, Service, ServiceSchema } from "moleculer";
import { ShopError } from "../../lib/errors.ts";
import type { ShopEvent } from "../../lib/event.ts";
import { type Database, databaseMixin, type Queryable, unavailable } from "../../mixins/database.mixin.ts";
import { consumerMixin } from "../../mixins/events/consumer.mixin.ts";
import type { ListAnswer, ListParams, NotificationView } from "./api.ts";
import { cursorOf, placeOf } from "./notification.cursor.ts";
import { insertNotifications, listNotifications, type NotificationRow } from "./notification.repository.ts";
import { type Notification, notificationOf } from "./notification.ts";

interface Vars {
  db: Database;
  logReceived(fresh: readonly Notification[]): void;
}
type NotificationService = Service & Vars;
interface Meta {
  user: { id: string } | null;
}

const viewOf = (row: NotificationRow): NotificationView => ({
  id: row.id,
  type: row.type,
  subject: row.subject,
  text: row.text,
  status: "stored",
  createdAt: row.time.toISOString(),
});

/** The effect of each event: a row for its user. */
async function tell(this: NotificationService, tx: Queryable, events: readonly ShopEvent[]): Promise<void> {
  const batch = events.map(notificationOf);
  const fresh = await insertNotifications(tx, batch);
  this.logReceived(batch.filter(({ event }) => fresh.has(event.id)));
}

const notification = {
  name: "notification",
  mixins: [consumerMixin, databaseMixin("notification", new URL("./migrations/", import.meta.url))],
  settings: { rest: "/" },

  events: {
    "order.confirmed.v1": tell,
    "user.registered.v1": tell,
  },

  actions: {
    list: {
      rest: "GET /notifications",
      auth: "user",
      query: ["limit", "cursor"],
      idempotent: true,
      openapi: { summary: "Your own notifications, newest first", tags: ["notifications"] },
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
  },

  hooks: {
    error: {
      "*"(_ctx: Context, err: Error) {
        throw unavailable(err);
      },
    },
  },

  methods: {
    /** One line per batch, so that a thousand orders a second do not become a thousand lines. */
    logReceived(this: NotificationService, fresh: readonly Notification[]): void {
      const reasons = new Set<string>();
      let stored = 0;
      for (const item of fresh) {
        if (item.status === "ignored") reasons.add(item.reason);
        else {
          stored += 1;
          this.logger.debug(`would mail to user ${item.userId}: ${item.subject}`);
        }
      }
      const ignored = fresh.length - stored;
      if (stored > 0) this.logger.info(`would send ${stored} mails`);
      if (ignored > 0) this.logger.warn(`stored ${ignored} events unread: ${[...reasons].join("; ")}`);
    },
  },
};

export default notification as unknown as ServiceSchema;
