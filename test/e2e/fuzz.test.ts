/** No input gives 500: mutated bodies, paths, queries and headers over all routes, from a printed seed. */
import { hash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { type Reply, type Send, Shopper, type User } from "../support/client.ts";
import { type Random, seeded } from "../support/random.ts";

const ROUNDS = 600;

let shop: TestShop;
let client: Shopper;
let admin: string;
let ann: User;
let product: { id: string };
beforeAll(async () => {
  shop = await startTestShop();
  client = new Shopper(shop.url);
  admin = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
  product = await client.addProduct(admin, { stock: 1_000_000 });
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
});

function expectNoFault(reply: Reply, request: unknown): void {
  const told = JSON.stringify({ request, status: reply.status, text: reply.text.slice(0, 300) });
  // 503 is the answer to a card gateway that is away, and no fault of ours.
  const isFault = reply.status >= 500 && reply.body?.code !== "payment_unavailable";
  if (isFault) throw new Error(`a fault: ${told}`);
  if (reply.status >= 400 && !/^application\/problem\+json/.test(reply.headers["content-type"] ?? ""))
    throw new Error(`no problem document: ${told}`);
}

const ODD: unknown[] = [
  null,
  true,
  0,
  -0,
  -1,
  1.5,
  1e21,
  2 ** 53,
  Number.MIN_VALUE,
  "",
  " ",
  "0",
  "\0",
  "\ud800",
  "é\u0301",
  "💥",
  "'; drop table products; --",
  "__proto__",
  "constructor",
  "a".repeat(300),
  "../../etc/passwd",
  "%s%n",
  "NaN",
  "2020-02-30",
  "tok_ok",
  "tok_error",
  "EUR",
  "eur",
  [],
  {},
  [[]],
  { toString: 1 },
  { length: 2 },
  [null],
  "01900000-0000-7000-8000-000000000000",
  "01900000-0000-7000-8000-00000000000G",
];

function mutate(value: unknown, random: Random): unknown {
  if (random.chance(0.25)) return random.pick(ODD);
  if (Array.isArray(value)) {
    const list = value.map((item) => (random.chance(0.5) ? mutate(item, random) : item));
    return random.chance(0.3) ? [...list, ...list, random.pick(ODD)] : list;
  }
  if (typeof value === "object" && value !== null) {
    const copy = Object.fromEntries(
      Object.entries(value)
        .filter(() => random.chance(0.9))
        .map(([name, item]) => [name, random.chance(0.4) ? mutate(item, random) : item]),
    );
    if (random.chance(0.2))
      copy[JSON.stringify(random.pick(ODD))?.replaceAll('"', "") ?? "x"] = random.pick(ODD);
    return copy;
  }
  return random.chance(0.5) ? random.pick(ODD) : value;
}

/** Bytes that are nearly the JSON they were. */
function garble(text: string, random: Random): string | Buffer {
  const bytes = Buffer.from(text);
  for (let n = random.int(4); n > 0 && bytes.length > 0; n--)
    bytes[random.int(bytes.length)] = random.int(256);
  return random.chance(0.3) ? bytes.subarray(0, random.int(bytes.length + 1)) : bytes;
}

const QUERY_NAMES = ["limit", "cursor", "q", "sort", "currency", "minPrice", "maxPrice", "__proto__", "x"];
const HEADERS: [string, string[]][] = [
  ["idempotency-key", ["k", "", "a b", "é", "k".repeat(300), "\x7f"]],
  ["if-match", ["*", '"1"', 'W/"1-x"', '"', "1, 2", "99999999999999999999"]],
  ["if-none-match", ["*", '"1"', ",,,", 'W/"']],
  ["accept", ["*/*", "text/html", "application/json;q=0", ";;;", "application/*;q=x"]],
  ["content-type", ["text/plain", "application/json; charset=latin1", "application/json;charset=utf-8", ""]],
  ["content-encoding", ["gzip", "br", "deflate", "identity", "x"]],
  ["authorization", ["Bearer x", "Basic YTpi", "Bearer", "Bearer a.b.c"]],
  ["x-request-id", ["a b", "x".repeat(200), "ok"]],
  ["x-forwarded-for", ["1.2.3.4", "garbage, ::1", ""]],
  ["origin", ["https://evil.example", "null"]],
];

function bodies(): Record<string, unknown> {
  const fields = {
    sku: "FUZZ",
    name: "Fuzz",
    description: "d",
    price: { amount: 1, currency: "EUR" },
    stock: 9,
  };
  return {
    "POST /register": { email: "fuzz@example.com", password: "correct horse", name: "Fuzz" },
    "POST /login": { email: "nobody@example.com", password: "correct horse" },
    "POST /token/refresh": { refreshToken: "x" },
    "POST /logout": { refreshToken: "x" },
    "POST /products": fields,
    [`PUT /products/${product.id}`]: { ...fields, sku: "FUZZ-2" },
    [`POST /products/${product.id}/stock`]: { delta: 5, reason: "found" },
    "POST /orders": {
      items: [{ productId: product.id, quantity: 1 }],
      payment: { token: "tok_ok" },
      expectedTotal: { amount: 990, currency: "EUR" },
    },
  };
}

test("mutated requests over all routes are answered below 500, or with a problem that is not ours", async () => {
  const random = seeded("fuzz");
  const document = (await client.get("/openapi.json")).body as {
    paths: Record<string, Record<string, unknown>>;
  };
  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(documented.length).toBeGreaterThan(15);
  const samples = bodies();
  const routes = [...documented, ...Object.keys(samples), ...Object.keys(samples), ...Object.keys(samples)];
  const statuses = new Map<number, number>();
  const requests = Array.from({ length: ROUNDS }, () => {
    const route = random.pick(routes);
    const [method = "", template = ""] = route.split(" ");
    let path = template.replace(/\{\w+\}/g, () =>
      encodeURIComponent(
        random.pick([product.id, ann.id, product.id.toUpperCase(), "1", "a/b", "\0", "💥", ".."]),
      ),
    );
    if (random.chance(0.1))
      path += random.pick(["/", "//", "/x", "%", "%00", "%zz", ";a=b", "?", "?a", "?&&=", "#x"]);
    if (random.chance(0.4)) {
      const values = [...ODD.filter((odd) => typeof odd !== "object").map(String), "1", "name", "-price"];
      const pairs = Array.from({ length: 1 + random.int(3) }, () => {
        const value = random.pick(values).toWellFormed();
        return `${random.pick(QUERY_NAMES)}=${random.chance(0.1) ? "%ff" : encodeURIComponent(value)}`;
      });
      path += `?${pairs.join("&")}`;
    }
    const headers: Record<string, string> = {};
    for (const [name, values] of HEADERS)
      if (random.chance(0.08)) headers[name] = random.pick(values).replace("é", "\xe9");
    const send: Send = { headers, token: random.chance(0.2) ? "x" : random.chance(0.5) ? ann.token : admin };
    const sample = samples[route] ?? (random.chance(0.1) ? { a: 1 } : undefined);
    if (sample !== undefined) {
      const text = JSON.stringify(random.chance(0.85) ? mutate(sample, random) : sample) ?? "";
      send.body = random.chance(0.2) ? garble(text, random) : text;
    }
    return {
      method: random.chance(0.03) ? random.pick(["PATCH", "HEAD", "OPTIONS", "TRACE"]) : method,
      path,
      send,
    };
  });
  for (let at = 0; at < requests.length; at += 20)
    await Promise.all(
      requests.slice(at, at + 20).map(async ({ method, path, send }) => {
        if (/[\x7f-\uffff\s]/.test(path)) return; // the client itself refuses to send these
        if (send.headers?.["idempotency-key"] === "\x7f") delete send.headers["idempotency-key"];
        const reply = await client.send(method, path, send);
        statuses.set(reply.status, (statuses.get(reply.status) ?? 0) + 1);
        if (method !== "HEAD") expectNoFault(reply, { seed: random.seed, method, path, ...send });
      }),
    );
  // The mutations reach past the first check: some requests succeed, and the refusals are of several kinds.
  expect(statuses.get(200) ?? 0).toBeGreaterThan(10);
  for (const status of [400, 401, 422]) expect(statuses.get(status) ?? 0).toBeGreaterThan(5);
});

const forge = (scope: unknown[], ...position: unknown[]): string =>
  Buffer.from(
    JSON.stringify([hash("sha256", JSON.stringify(scope), "base64url").slice(0, 12), ...position]),
  ).toString("base64url");

// The fingerprint in a cursor is no secret, so what stands behind it may be anything.
test("forged cursors are answered below 500", async () => {
  const instants = [
    "1",
    "2020-02-30",
    "+275760-09-13T00:00:00.000Z",
    "-271821-04-20T00:00:00.000Z",
    "Feb 30 2020 25:61",
    "2020-01-01T00:00:00+99:99",
  ];
  const positions: Record<string, unknown[]> = {
    name: ["", "\ud800", "x".repeat(500), "\u0001"],
    "-price": [0, -1, 2 ** 53 - 1, 1e15],
    createdAt: instants,
    "-createdAt": instants,
  };
  // The forger's work is good: a position that fits is taken.
  const good = forge(["products", "price", "", "", "", ""], 0, "00000000-0000-0000-0000-000000000000");
  expect((await client.get(`/products?sort=price&cursor=${good}`)).status).toBe(200);
  for (const [sort, values] of Object.entries(positions))
    for (const value of values) {
      const cursor = forge(["products", sort, "", "", "", ""], value, product.id);
      const path = `/products?sort=${sort}&cursor=${cursor}`;
      expectNoFault(await client.get(path), { path, value });
    }
  const cursor = forge(["orders", ann.id], "ffffffff-ffff-ffff-ffff-ffffffffffff");
  expectNoFault(await client.get(`/orders/user/${ann.id}?cursor=${cursor}`, ann.token), { cursor });
});
