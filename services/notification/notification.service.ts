/**
 * notification: tells users what happened. It stores each message and logs what it would mail; sending is not built
 * yet.
 */
import type { Context, Service, ServiceSchema } from "moleculer";
import { ShopError } from "../../lib/errors.ts";
import { type Database, databaseMixin, unavailable } from "../../mixins/database.mixin.ts";
import type { ListAnswer, ListParams, NotificationView, ReceiveAnswer, ReceiveParams } from "./api.ts";
import { cursorOf, placeOf } from "./notification.cursor.ts";
import { insertNotifications, listNotifications, type NotificationRow } from "./notification.repository.ts";
import { type Notification, notificationOf } from "./notification.ts";

interface Vars {
  db: Database;
  logReceived(fresh: readonly Notification[]): ReceiveAnswer;
}
type NotificationService = Service & Vars;
interface Meta {
  user: { id: string } | null;
}

const BATCH_MAX = 1_000;

const viewOf = (row: NotificationRow): NotificationView => ({
  id: row.id,
  type: row.type,
  subject: row.subject,
  text: row.text,
  status: "stored",
  createdAt: row.time.toISOString(),
});

const notification = {
  name: "notification",
  mixins: [databaseMixin("notification", new URL("./migrations/", import.meta.url))],
  settings: { rest: "/" },

  actions: {
    /** Called by whoever delivers events, as often as it likes: an event's id makes it count once. */
    receive: {
      idempotent: true,
      params: {
        $$strict: true,
        events: {
          type: "array",
          max: BATCH_MAX,
          items: {
            type: "object",
            props: {
              id: "uuid",
              type: "string|min:1|max:100",
              version: "number|integer|min:1|max:1000",
              key: "string",
              payload: { type: "object" },
              time: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d" },
            },
          },
        },
      },
      async handler(this: NotificationService, ctx: Context<ReceiveParams>): Promise<ReceiveAnswer> {
        const batch = ctx.params.events.map(notificationOf);
        if (batch.length === 0) return { stored: 0, ignored: 0 };
        const fresh = await insertNotifications(this.db, batch);
        // An event that stands twice in one batch is one event.
        return this.logReceived(batch.filter(({ event }) => fresh.delete(event.id)));
      },
    },

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
    logReceived(this: NotificationService, fresh: readonly Notification[]): ReceiveAnswer {
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
      return { stored, ignored };
    },
  },
};

export default notification as unknown as ServiceSchema;
