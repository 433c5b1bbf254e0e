import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from "@jest/globals";
import pg from "pg";
import { encodeCursor } from "../../../lib/cursor.ts";
import { newId } from "../../../lib/ids.ts";
import type { ListAnswer, ReceiveAnswer, ShopEvent } from "../../../services/notification/api.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";

let shop: TestShop;
beforeAll(async () => {
  shop = await startTestShop({ services: ["notification"] });
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => shop.stop());

/** `age` in milliseconds before a fixed moment. */
const confirmed = (userId: string, { age = 0, version = 1 } = {}): ShopEvent => {
  const orderId = newId();
  return {
    id: newId(),
    type: "order.confirmed",
    version,
    key: orderId,
    payload: { orderId, userId, total: 1_999, currency: "EUR", lines: [{}] },
    time: new Date(Date.UTC(2026, 0, 2) - age).toISOString(),
  };
};
const receive = (events: ShopEvent[]): Promise<ReceiveAnswer> =>
  shop.broker.call("notification.receive", { events });
const list = (userId: string, params: object = {}): Promise<ListAnswer> =>
  shop.broker.call("notification.list", params, { meta: { user: { id: userId, roles: ["user"] } } });
const logged = (level: "info" | "warn") => {
  const logger = shop.broker.getLocalService("notification")?.logger;
  if (!logger) throw new Error("notification is not here");
  return jest.spyOn(logger, level);
};

describe("receive", () => {
  test("stores a message for the user of the event", async () => {
    const userId = newId();
    const event = confirmed(userId);
    expect(await receive([event])).toEqual({ stored: 1, ignored: 0 });
    expect(await list(userId)).toEqual({
      items: [
        {
          id: event.id,
          type: "order.confirmed",
          subject: "Your order is confirmed",
          text: expect.stringContaining("EUR 19.99"),
          status: "stored",
          createdAt: event.time,
        },
      ],
      nextCursor: null,
    });
  });

  test("counts an event once, however often and in whatever company it comes", async () => {
    const userId = newId();
    const [first, second] = [confirmed(userId), confirmed(userId)];
    expect(await receive([first, first])).toEqual({ stored: 1, ignored: 0 });
    expect(await receive([first, second])).toEqual({ stored: 1, ignored: 0 });
    const again = await Promise.all([receive([first, second]), receive([second, first])]);
    expect(again).toEqual(Array(2).fill({ stored: 0, ignored: 0 }));
    expect((await list(userId)).items).toHaveLength(2);
  });

  test("keeps what it does not know, with a warning, and shows it to nobody", async () => {
    const userId = newId();
    const warn = logged("warn");
    const unknown = confirmed(userId, { version: 2 });
    expect(await receive([unknown, confirmed(userId)])).toEqual({ stored: 1, ignored: 1 });
    expect(warn.mock.calls).toEqual([["stored 1 events unread: order.confirmed.v2 is not known here"]]);
    expect((await list(userId)).items).toHaveLength(1);
    expect(await rowOf(unknown.id)).toMatchObject({ status: "ignored", ignored_event: unknown });
  });

  test("writes one line for a batch, not one for each event", async () => {
    const info = logged("info");
    await receive(Array.from({ length: 250 }, () => confirmed(newId())));
    expect(info.mock.calls).toEqual([["would send 250 mails"]]);
  });

  test("takes an empty batch", async () => {
    expect(await receive([])).toEqual({ stored: 0, ignored: 0 });
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

async function rowOf(eventId: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: shop.databases.urlOf("notification") });
  await client.connect();
  try {
    return (await client.query("select * from notifications where event_id = $1", [eventId])).rows[0];
  } finally {
    await client.end();
  }
}
