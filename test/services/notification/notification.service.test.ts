import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import pg from "pg";
import { encodeCursor } from "../../../lib/cursor.ts";
import type { ShopEvent } from "../../../lib/event.ts";
import { newId } from "../../../lib/ids.ts";
import type { Delivery } from "../../../mixins/events/delivery.ts";
import type { ListAnswer } from "../../../services/notification/api.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { until } from "../../support/until.ts";

let shop: TestShop;
beforeAll(async () => {
  shop = await startTestShop({ services: ["notification"] });
});
afterAll(() => shop.stop());

/** `age` in milliseconds before a fixed moment. */
const confirmed = (userId: string, { age = 0 } = {}): ShopEvent => {
  const orderId = newId();
  return {
    id: newId(),
    type: "order.confirmed",
    version: 1,
    key: orderId,
    payload: { orderId, userId, total: 1_999, currency: "EUR", lines: [] },
    time: new Date(Date.UTC(2026, 0, 2) - age).toISOString(),
    traceparent: null,
  };
};
/** As whatever carries events would bring them. */
const receive = (events: ShopEvent[]): Promise<number> => {
  const { delivery } = shop.broker.getLocalService("notification") as unknown as { delivery: Delivery };
  const arrivals = events.map((event, position) => ({
    ...{ topic: "orders" as const, partition: 0, position },
    ...{ body: JSON.stringify(event), event },
  }));
  return delivery.deliver(arrivals, { pause: () => Promise.reject(new Error("it has to wait")) });
};
const list = (userId: string, params: object = {}): Promise<ListAnswer> =>
  shop.broker.call("notification.list", params, { meta: { user: { id: userId, roles: ["user"] } } });

// Nobody here knows addresses, so mail waits.
describe("an event", () => {
  test("becomes a message for its user", async () => {
    const userId = newId();
    const event = confirmed(userId);
    await receive([event]);
    expect(await list(userId)).toEqual({
      items: [
        {
          id: event.id,
          type: "order.confirmed",
          subject: "Your order is confirmed",
          text: expect.stringContaining("EUR 19.99"),
          status: "pending",
          createdAt: event.time,
        },
      ],
      nextCursor: null,
    });
  });

  test("waits to be mailed while nobody knows the address, and no attempt is counted", async () => {
    const userId = newId();
    await receive([confirmed(userId)]);
    const client = new pg.Client({ connectionString: shop.databases.urlOf("notification") });
    await client.connect();
    const row = await until("it has been tried", async () => {
      const { rows } = await client.query("select * from notifications where user_id = $1", [userId]);
      return rows[0]?.failure && !rows[0].claimed && rows[0];
    });
    await client.end();
    expect(row).toMatchObject({ status: "pending", attempts: 0, repeats: 0 });
    expect(row.failure).toBe("nobody could be asked for the address");
  });

  test("asks nobody for an address where nobody can be asked, and the framework warns of nothing", async () => {
    const { broker } = shop;
    const { registry, logger } = broker;
    const [look, warn] = [registry.getActionEndpoints, logger.warn];
    const warned: unknown[][] = [];
    let looks = 0;
    logger.warn = (...args: unknown[]) => warned.push(args);
    registry.getActionEndpoints = (action: string) => {
      if (action === "user.contacts") looks++;
      return look.call(registry, action);
    };
    try {
      await receive([confirmed(newId())]);
      await until("it was looked for twice", () => looks >= 2, 15_000);
      expect(warned).toEqual([]);
    } finally {
      Object.assign(registry, { getActionEndpoints: look });
      Object.assign(logger, { warn });
    }
  }, 20_000);

  test("counts once, however often and in whatever company it comes", async () => {
    const userId = newId();
    const [first, second] = [confirmed(userId), confirmed(userId)];
    await receive([first, first]);
    await receive([first, second]);
    await Promise.all([receive([first, second]), receive([second, first])]);
    expect((await list(userId)).items).toHaveLength(2);
  });
});

describe("list", () => {
  test("goes through all of one's own, newest first, page by page, also where times are equal", async () => {
    const userId = newId();
    const events = [0, 1, 1, 1, 2, 3, 3].map((age) => confirmed(userId, { age }));
    await receive([...events, confirmed(newId())]);
    const seen: string[] = [];
    let pages = 0;
    let cursor: string | null = null;
    do {
      const page: ListAnswer = await list(userId, cursor === null ? { limit: "2" } : { limit: "2", cursor });
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map((item) => `${item.createdAt} ${item.id}`));
      pages += 1;
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(pages).toBe(4);
    expect(seen).toEqual(
      events
        .map((event) => `${event.time} ${event.id}`)
        .sort()
        .reverse(),
    );
  });

  test("shows 20 unless told otherwise, and no cursor where the last page is full", async () => {
    const userId = newId();
    await receive(Array.from({ length: 21 }, (_, age) => confirmed(userId, { age })));
    const page = await list(userId);
    expect(page.items).toHaveLength(20);
    expect(page.nextCursor).not.toBeNull();
    expect(await list(userId, { limit: 21 })).toMatchObject({ nextCursor: null });
  });

  test("refuses another user's cursor", async () => {
    const userId = newId();
    await receive([confirmed(userId), confirmed(userId)]);
    const { nextCursor } = await list(userId, { limit: 1 });
    await expect(list(newId(), { cursor: nextCursor })).rejects.toMatchObject({
      code: 422,
      type: "validation_failed",
      data: { errors: [{ parameter: "cursor" }] },
    });
  });

  test.each([
    ["30 February", "2026-02-30T00:00:00.000Z"],
    ["a year before the first", "0000-01-01T00:00:00.000Z"],
    ["no time at all", "yesterday"],
  ])("refuses a made-up cursor at %s", async (_what, time) => {
    const userId = newId();
    const cursor = encodeCursor(["notification.list", userId], [time, newId()]);
    await expect(list(userId, { cursor })).rejects.toMatchObject({ code: 422, type: "validation_failed" });
  });

  test.each([
    ["a limit of 0", { limit: "0" }],
    ["a limit of 101", { limit: "101" }],
    ["half a limit", { limit: "1.5" }],
    ["a limit that is no number", { limit: "many" }],
    ["an unknown parameter", { user: "x" }],
    ["a cursor that is none", { cursor: "made up" }],
  ])("refuses %s", async (_what, params) => {
    await expect(list(newId(), params)).rejects.toMatchObject({ code: 422 });
  });
});
