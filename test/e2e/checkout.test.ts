/** Buying, over HTTP, with every service and a real PostgreSQL. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { expectStatus, Shopper, type User } from "../support/client.ts";
import { until } from "../support/until.ts";

let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
beforeAll(async () => {
  shop = await startTestShop();
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
});

test("a customer registers, logs in, finds a product, buys it and reads the order back", async () => {
  const bob = await client.register("Bob");
  const mug = await client.addProduct(admin, { name: "Findable mug", stock: 10 });
  const found = await client.get("/products?q=findable");
  expect(found.body.items.map((product: { id: string }) => product.id)).toEqual([mug.id]);
  const bought = expectStatus(await client.buy(bob, mug.id, { quantity: 3 }), 201);
  expect(bought.headers.location).toBe(`/orders/${bought.body.id}`);
  expect(bought.body).toEqual({
    id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/),
    userId: bob.id,
    status: "confirmed",
    items: [
      {
        productId: mug.id,
        sku: mug.sku,
        name: "Findable mug",
        quantity: 3,
        unitPrice: { amount: 990, currency: "EUR" },
        lineTotal: { amount: 2_970, currency: "EUR" },
      },
    ],
    total: { amount: 2_970, currency: "EUR" },
    payment: { status: expect.stringMatching(/^(authorized|captured)$/) },
    createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  });
  const read = await until("the payment is captured", async () => {
    const { body } = expectStatus(await client.get(`/orders/${bought.body.id}`, bob.token), 200);
    expect(body.status).toBe("confirmed");
    return body.payment.status === "captured" && body;
  });
  expect(read).toEqual({ ...bought.body, payment: { status: "captured" } });
  expect(await client.quiet(mug.id)).toMatchObject({ stock: 7, available: 7 });
});

test("a product is bought by its id in either case", async () => {
  const { id } = await client.addProduct(admin);
  const bought = await client.buy(ann, id.toUpperCase());
  expect(bought).toMatchObject({ status: 201, body: { items: [{ productId: id }] } });
});

test("200 buyers at once share a stock of 50: 50 orders, 150 refusals, nothing reserved", async () => {
  const product = await client.addProduct(admin, { stock: 50 });
  const buyers = await Promise.all(Array.from({ length: 20 }, () => client.register("Buyer")));
  const replies = await Promise.all(
    Array.from({ length: 200 }, (_, i) => client.buy(buyers[i % 20] as User, product.id)),
  );
  const counts = Object.fromEntries(
    [...Map.groupBy(replies, ({ status }) => status)].map(([status, group]) => [status, group.length]),
  );
  expect(counts).toEqual({ 201: 50, 409: 150 });
  for (const reply of replies.filter(({ status }) => status === 409))
    expect(reply.body).toMatchObject({ code: "insufficient_stock", productId: product.id });
  expect(await client.quiet(product.id)).toMatchObject({ stock: 0, available: 0 });
  const ids = new Set(replies.filter(({ status }) => status === 201).map(({ body }) => body.id));
  expect(ids.size).toBe(50);
});

describe("after a refusal nothing is held", () => {
  test("declined cards are 402, and the stock is back before the answer", async () => {
    const product = await client.addProduct(admin, { stock: 1 });
    for (const card of ["tok_declined", "tok_insufficient_funds", "tok_unheard_of"]) {
      const declined = await client.buy(ann, product.id, { card });
      expect(declined).toMatchObject({ status: 402, body: { code: "payment_declined" } });
      expect((await client.get(`/products/${product.id}`)).body).toMatchObject({ stock: 1, available: 1 });
    }
    expectStatus(await client.buy(ann, product.id), 201);
  });

  test("the other product of an order that lacks one is free before the answer", async () => {
    const [plenty, none] = [await client.addProduct(admin), await client.addProduct(admin, { stock: 0 })];
    const body = {
      items: [plenty, none].map(({ id }) => ({ productId: id, quantity: 5 })),
      payment: { token: "tok_ok" },
    };
    expect(await client.post("/orders", body, ann.token)).toMatchObject({
      status: 409,
      body: { code: "insufficient_stock", productId: none.id, available: 0 },
    });
    expect((await client.get(`/products/${plenty.id}`)).body.available).toBe(100);
  });

  test("a refused order is no order: neither read nor listed", async () => {
    const bob = await client.register("Bob");
    const product = await client.addProduct(admin);
    await client.buy(bob, product.id, { card: "tok_declined" });
    expect((await client.get(`/orders/user/${bob.id}`, bob.token)).body).toEqual({
      items: [],
      nextCursor: null,
    });
  });
});

describe("the card gateway", () => {
  test("tok_slow delays its own order and no other", async () => {
    const product = await client.addProduct(admin, { stock: 1_000 });
    let isSlowDone = false;
    const slow = client.buy(ann, product.id, { card: "tok_slow" }).then((reply) => {
      isSlowDone = true;
      return reply;
    });
    for (let n = 0; n < 20; n++) expectStatus(await client.buy(ann, product.id), 201);
    expect(isSlowDone).toBe(false);
    expectStatus(await slow, 201);
  });

  test("tok_timeout is 201 within 3 s, with one payment", async () => {
    const product = await client.addProduct(admin);
    const startedAt = performance.now();
    const reply = expectStatus(await client.buy(ann, product.id, { card: "tok_timeout" }), 201);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await until("captured", async () => {
      const { body } = await client.get(`/orders/${reply.body.id}`, ann.token);
      return body.payment.status === "captured";
    });
  });

  test("tok_error is 503 payment_unavailable with Retry-After, and the same key then buys", async () => {
    const product = await client.addProduct(admin);
    const key = "tok-error-then-ok";
    const failed = await client.buy(ann, product.id, { card: "tok_error", key });
    expect(failed).toMatchObject({ status: 503, body: { code: "payment_unavailable" } });
    expect(Number(failed.headers["retry-after"])).toBeGreaterThan(0);
    expect(await client.quiet(product.id)).toMatchObject({ stock: 100 });
    expectStatus(await client.buy(ann, product.id, { key }), 201);
    expect(await client.quiet(product.id)).toMatchObject({ stock: 99 });
  });
});

describe("prices", () => {
  const edit = (product: Record<string, unknown>, amount: number) => {
    const { sku, name, description, stock } = product;
    const body = { sku, name, description, stock, price: { amount, currency: "EUR" } };
    return client.send("PUT", `/products/${product.id}`, { token: admin, body });
  };

  test("that differ from expectedTotal are 409 price_changed with the total of today", async () => {
    const product = await client.addProduct(admin);
    expectStatus(await client.buy(ann, product.id, { expectedTotal: { amount: 990, currency: "EUR" } }), 201);
    expectStatus(await edit(product, 1_200), 200);
    const stale = await client.buy(ann, product.id, { expectedTotal: { amount: 990, currency: "EUR" } });
    expect(stale).toMatchObject({
      status: 409,
      body: { code: "price_changed", total: { amount: 1_200, currency: "EUR" } },
    });
    const reply = await client.buy(ann, product.id, { expectedTotal: { amount: 1_200, currency: "EUR" } });
    expect(expectStatus(reply, 201).body.total).toEqual({ amount: 1_200, currency: "EUR" });
  });

  test("that changed on another node are quoted again by themselves, without expectedTotal", async () => {
    const product = await client.addProduct(admin);
    const other = await startTestShop({ databases: shop.databases });
    const neighbour = new Shopper(other.url);
    try {
      expectStatus(await neighbour.buy(ann, product.id), 201); // it now remembers the price
      expectStatus(await edit(product, 1_500), 200); // on this node: the neighbour does not hear of it
      const expected = { amount: 990, currency: "EUR" };
      const stale = await neighbour.buy(ann, product.id, { expectedTotal: expected });
      expect(stale).toMatchObject({ status: 409, body: { code: "price_changed" } });
      for (const key of ["", "re-quoted"]) {
        const reply = expectStatus(await neighbour.buy(ann, product.id, { key }), 201);
        expect(reply.body.total).toEqual({ amount: 1_500, currency: "EUR" });
        await edit(product, 990);
        await neighbour.buy(ann, product.id, { expectedTotal: expected });
        await edit(product, 1_500);
      }
    } finally {
      neighbour.close();
      await other.stop();
    }
  });

  test("may change all the time: every order is at one price that was true", async () => {
    const product = await client.addProduct(admin, { stock: 1_000 });
    let editing = true;
    const edits = (async () => {
      for (let amount = 991; editing; amount = amount === 991 ? 992 : 991) await edit(product, amount);
    })();
    const replies = await Promise.all(
      Array.from({ length: 40 }, () => client.buy(ann, product.id, { quantity: 2 })),
    );
    editing = false;
    await edits;
    for (const { status, body } of replies) {
      expect([201, 409]).toContain(status);
      if (status === 201) expect([1_980, 1_982, 1_984]).toContain(body.total.amount);
      else expect(body.code).toBe("price_changed");
    }
  });
});

describe("a product that is deleted", () => {
  test("is gone for new orders, and its orders stay as they are", async () => {
    const product = await client.addProduct(admin);
    const { body: order } = expectStatus(await client.buy(ann, product.id), 201);
    expectStatus(await client.send("DELETE", `/products/${product.id}`, { token: admin }), 204);
    expect(await client.buy(ann, product.id)).toMatchObject({
      status: 409,
      body: { code: "product_gone", productId: product.id },
    });
    expectStatus(await client.get(`/products/${product.id}`), 404);
    const read = expectStatus(await client.get(`/orders/${order.id}`, ann.token), 200);
    expect(read.body.items).toEqual(order.items);
    expectStatus(
      await client.post(
        "/products",
        { sku: product.sku, name: "New", price: product.price, stock: 1 },
        admin,
      ),
      201,
    );
  });

  test("while an order is prepared is still sold to that order", async () => {
    const product = await client.addProduct(admin, { stock: 5 });
    const slow = client.buy(ann, product.id, { card: "tok_slow", quantity: 2 });
    await until(
      "the stock is reserved",
      async () => (await client.get(`/products/${product.id}`)).body.available === 3,
    );
    expectStatus(await client.send("DELETE", `/products/${product.id}`, { token: admin }), 204);
    expectStatus(await slow, 201);
  });
});

test("after a 201 no read says anything but confirmed, in the order or in the list", async () => {
  const product = await client.addProduct(admin, { stock: 1_000 });
  const reader = await client.register("Reader");
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let n = 0; n < 6; n++) {
        const { body } = expectStatus(await client.buy(reader, product.id), 201);
        const reads = await Promise.all([1, 2, 3].map(() => client.get(`/orders/${body.id}`, reader.token)));
        for (const read of reads) expect(read).toMatchObject({ status: 200, body: { status: "confirmed" } });
        const list = await client.get(`/orders/user/${reader.id}?limit=100`, reader.token);
        const listed = list.body.items.find((order: { id: string }) => order.id === body.id);
        expect(listed).toMatchObject({ status: "confirmed", total: body.total });
      }
    }),
  );
});

describe("a user's orders", () => {
  test("are listed newest first, page by page, each once", async () => {
    const bob = await client.register("Bob");
    const product = await client.addProduct(admin);
    const bought: string[] = [];
    for (let n = 0; n < 7; n++) bought.push(expectStatus(await client.buy(bob, product.id), 201).body.id);
    const seen: string[] = [];
    const sizes: number[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
      const { body } = expectStatus(
        await client.get(`/orders/user/${bob.id}?limit=3${query}`, bob.token),
        200,
      );
      seen.push(...body.items.map((order: { id: string }) => order.id));
      sizes.push(body.items.length);
      cursor = body.nextCursor;
    }
    expect(seen).toEqual(bought.toReversed());
    expect(sizes).toEqual([3, 3, 1]);
  });

  test("are nobody else's: another's order is as unknown as none, and an admin sees it", async () => {
    const bob = await client.register("Bob");
    const product = await client.addProduct(admin);
    const { body: order } = expectStatus(await client.buy(ann, product.id), 201);
    const others = await client.get(`/orders/${order.id}`, bob.token);
    const none = await client.get("/orders/01900000-0000-7000-8000-000000000000", bob.token);
    const told = ({ status, body: { code, title, type } }: typeof others) => ({ status, code, title, type });
    expect(told(others)).toEqual(told(none));
    expect(others.body.detail.replace(order.id, "")).toBe(
      none.body.detail.replace("01900000-0000-7000-8000-000000000000", ""),
    );
    expectStatus(await client.get(`/orders/user/${ann.id}`, bob.token), 403);
    expectStatus(await client.get(`/orders/${order.id}`, admin), 200);
    expectStatus(await client.get(`/orders/user/${ann.id}`, admin), 200);
  });
});
