/** Whichever way an action is reached, it answers the same, refuses the same and fails the same. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import type { ActionSchema } from "moleculer";
import { newId } from "../../lib/ids.ts";
import { ADMIN, startTestShop } from "../harness/shop.ts";
import { Shopper, type User } from "../support/client.ts";
import { GrpcClient } from "../support/grpc.ts";
import { type Caller, type Case, overBroker, overGrpc, overRest, type Ways } from "./carriers.ts";

const PARTICIPANT_TOKEN = "the-participants-token";
const NOBODY: Caller = { user: null };
const PARTICIPANT: Caller = { token: PARTICIPANT_TOKEN, user: null };
const NO_SUCH_ID = "00000000-0000-7000-8000-000000000000";
const NOT_AN_ID = "not-an-id";
const NO_LINES = { currency: "EUR", lines: [] };

let ways: Ways;
let client: Shopper;
let ann: User;
let user: Caller;
let admin: Caller;
let mug: { id: string; sku: string };
let order: { id: string };
const schemas = new Map<string, ActionSchema>();

beforeAll(async () => {
  const shop = await startTestShop({ env: { PARTICIPANT_TOKEN } });
  client = new Shopper(shop.url);
  ways = { shop, rest: client, grpc: new GrpcClient(shop.broker.grpc?.port as number) };
  const token = await client.login(ADMIN.email, ADMIN.password);
  ann = await client.register();
  user = { token: ann.token, user: { id: ann.id, roles: ["user"] } };
  const { body } = await client.get("/profile", token);
  admin = { token, user: { id: body.id, roles: body.roles } };
  mug = await client.addProduct(token, { stock: 1_000 });
  order = (await client.buy(ann, mug.id)).body;
  await client.quiet(mug.id);
  for (const { name, action } of shop.broker.registry.getActionList({ onlyLocal: true }))
    if (name && action) schemas.set(name, action as ActionSchema);
});
afterAll(async () => {
  client?.close();
  ways?.grpc.close();
  await ways?.shop.stop();
});

const product = (sku: string, more: object = {}) => ({
  sku,
  name: "Mug",
  price: { amount: 990, currency: "EUR" },
  stock: 5,
  ...more,
});
const made = (sku: string): Promise<{ id: string }> =>
  ways.shop.broker.call("product.create", product(sku), { meta: admin });
const toResult = ({ paymentStatus, ...rest }: { paymentStatus: string }) => ({
  ...rest,
  payment: { status: paymentStatus },
});
const placed = ({ order: message }: { order: never }) => toResult(message);
const page = ({ items, nextCursor }: { items: never[]; nextCursor: string }) => ({
  items: items.map(toResult),
  nextCursor: nextCursor || null,
});
/** payment settles a capture a moment after the order: until then two reads may differ. */
const settledOrder = async () => {
  await client.quiet(mug.id);
  return order;
};

/** Filled before each carrier is asked, where something must exist first. */
const exists = new Map<string, string>();

function cases(): Case[] {
  const both = (action: string, as: Caller, of: Omit<Case, "action" | "as">): Case => ({ action, as, ...of });
  const bought = (more: object = {}) => ({
    items: [{ productId: mug.id, quantity: 2 }],
    payment: { token: "tok_ok" },
    ...more,
  });
  const sorts: Record<string, number> = { "-price": 4, colour: 99 };
  const list = {
    request: ({ sort, ...rest }: { sort?: string }) => ({ ...rest, ...(sort ? { sort: sorts[sort] } : {}) }),
    result: ({ items, nextCursor }: { items: object[]; nextCursor: string }) => ({
      items,
      nextCursor: nextCursor || null,
    }),
  };
  return [
    both("product.get", NOBODY, { what: "a product", params: () => ({ id: mug.id }) }),
    both("product.get", NOBODY, { what: "none", params: () => ({ id: NO_SUCH_ID }) }),
    both("product.get", NOBODY, { what: "no id", params: () => ({ id: NOT_AN_ID }) }),
    both("product.list", NOBODY, { what: "a page", params: () => ({ limit: 1, sort: "-price" }), ...list }),
    both("product.list", NOBODY, {
      what: "a filter",
      params: () => ({ currency: "EUR", minPrice: 1 }),
      ...list,
    }),
    both("product.list", NOBODY, { what: "no currency", params: () => ({ minPrice: 1 }), ...list }),
    both("product.list", NOBODY, { what: "no such sort", params: () => ({ sort: "colour" }), ...list }),
    both("product.list", NOBODY, { what: "no rows", params: () => ({ limit: 0 }), ...list }),
    both("product.create", admin, { what: "a product", params: (fresh) => product(fresh) }),
    both("product.create", admin, { what: "a taken SKU", params: () => product(mug.sku) }),
    both("product.create", admin, { what: "no stock", params: (fresh) => product(fresh, { stock: -1 }) }),
    both("product.replace", admin, {
      what: "a product",
      params: (fresh) => ({ id: exists.get(fresh), ...product(`new ${fresh}`) }),
    }),
    both("product.replace", admin, {
      what: "none",
      params: (fresh) => ({ id: NO_SUCH_ID, ...product(fresh) }),
    }),
    both("product.replace", admin, {
      what: "no name",
      params: () => ({ id: mug.id, ...product("x", { name: "" }) }),
    }),
    both("product.adjustStock", admin, {
      what: "goods in",
      params: (fresh) => ({ id: exists.get(fresh), delta: 1, reason: "in" }),
    }),
    both("product.adjustStock", admin, {
      what: "none",
      params: () => ({ id: NO_SUCH_ID, delta: 1, reason: "in" }),
    }),
    both("product.adjustStock", admin, {
      what: "nothing",
      params: () => ({ id: mug.id, delta: 0, reason: "in" }),
    }),
    both("product.remove", admin, { what: "a product", params: (fresh) => ({ id: exists.get(fresh) }) }),
    both("product.remove", admin, { what: "none", params: () => ({ id: NO_SUCH_ID }) }),
    both("product.remove", admin, { what: "no id", params: () => ({ id: NOT_AN_ID }) }),
    both("product.quote", user, {
      what: "a price",
      params: () => ({ items: [{ productId: mug.id, quantity: 2 }] }),
      result: ({ lines, total }: { lines: { unitPrice: { amount: number } }[]; total: never }) => ({
        currency: (total as { currency: string }).currency,
        lines: lines.map(({ unitPrice, ...line }) => ({ ...line, unitPrice: unitPrice.amount })),
        total: (total as { amount: number }).amount,
      }),
    }),
    both("product.quote", user, {
      what: "none",
      params: () => ({ items: [{ productId: NO_SUCH_ID, quantity: 1 }] }),
    }),
    both("product.quote", user, { what: "nothing", params: () => ({ items: [] }) }),

    both("order.place", user, { what: "an order", params: () => bought(), result: placed }),
    both("order.place", user, {
      what: "another total",
      params: () => bought({ expectedTotal: { amount: 1, currency: "EUR" } }),
    }),
    both("order.place", user, {
      what: "too many",
      params: () => bought({ items: [{ productId: mug.id, quantity: 9_000 }] }),
    }),
    both("order.place", user, {
      what: "a declined card",
      params: () => bought({ payment: { token: "tok_declined" } }),
    }),
    both("order.place", user, { what: "no items", params: () => bought({ items: [] }) }),
    both("order.place", user, { what: "no card", params: () => ({ items: bought().items }) }),
    both("order.place", user, {
      what: "no quantity",
      params: () => bought({ items: [{ productId: mug.id, quantity: 0 }] }),
    }),
    both("order.get", user, { what: "an order", params: () => ({ id: order.id }), result: toResult }),
    both("order.get", admin, {
      what: "anybody's, to admins",
      params: () => ({ id: order.id }),
      result: toResult,
    }),
    both("order.get", user, { what: "none", params: () => ({ id: NO_SUCH_ID }) }),
    both("order.get", user, { what: "no id", params: () => ({ id: NOT_AN_ID }) }),
    both("order.listByUser", user, {
      what: "a page",
      params: () => ({ userId: ann.id, limit: 1 }),
      result: page,
    }),
    both("order.listByUser", user, { what: "somebody else's", params: () => ({ userId: NO_SUCH_ID }) }),
    both("order.listByUser", user, {
      what: "a cursor that is none",
      params: () => ({ userId: ann.id, cursor: "x" }),
    }),

    ...["order", "product", "payment"].flatMap((name): Case[] => [
      both(`${name}.prepare`, PARTICIPANT, {
        what: "no time left",
        params: () => ({
          entries: [{ txId: newId(), hash: "h", budgetMs: 0, participants: [], request: NO_LINES }],
        }),
        request: ({ entries }: { entries: object[] }) => ({
          entries: entries.map((entry) => ({ ...entry, request: JSON.stringify(NO_LINES) })),
        }),
        result: ({ replies }: { replies: { kind: string; reason: string }[] }) =>
          replies.map(({ kind, reason }) => ({ kind, reason })),
      }),
      both(`${name}.prepare`, PARTICIPANT, { what: "nothing", params: () => ({ entries: [] }) }),
      both(`${name}.commit`, PARTICIPANT, {
        what: "no vote",
        params: () => ({ txIds: [newId()] }),
        result: replies,
      }),
      both(`${name}.commit`, PARTICIPANT, { what: "nothing", params: () => ({ txIds: [] }) }),
      both(`${name}.abort`, PARTICIPANT, {
        what: "a tombstone",
        params: () => ({ txIds: [newId()] }),
        result: replies,
      }),
      both(`${name}.abort`, PARTICIPANT, { what: "nothing", params: () => ({ txIds: [] }) }),
      both(`${name}.raiseSeal`, PARTICIPANT, {
        what: "a seal",
        params: () => ({ upTo: NO_SUCH_ID }),
        result: ({ seal }: { seal: string }) => seal,
      }),
      both(`${name}.raiseSeal`, PARTICIPANT, { what: "no id", params: () => ({ upTo: NOT_AN_ID }) }),
      both(`${name}.prune`, PARTICIPANT, {
        what: "nothing there",
        params: () => ({ watermark: NO_SUCH_ID, limit: 1 }),
        result: ({ deleted }: { deleted: number }) => deleted,
      }),
      both(`${name}.prune`, PARTICIPANT, {
        what: "no rows",
        params: () => ({ watermark: NO_SUCH_ID, limit: 0 }),
      }),
    ]),
    both("transaction-manager.outcome", PARTICIPANT, {
      what: "pending",
      params: () => ({ inquiries: [{ txId: newId(), waitedMs: 0 }] }),
      result: ({ outcomes }: { outcomes: string[] }) => outcomes,
    }),
    both("transaction-manager.outcome", PARTICIPANT, {
      what: "abort, where nobody has decided for long",
      params: () => ({ inquiries: [{ txId: newId(), waitedMs: 60_000 }] }),
      result: ({ outcomes }: { outcomes: string[] }) => outcomes,
    }),
    both("transaction-manager.outcome", PARTICIPANT, {
      what: "no transaction",
      params: () => ({ inquiries: [{ txId: NOT_AN_ID, waitedMs: 0 }] }),
    }),
    both("transaction-manager.outcome", PARTICIPANT, { what: "nothing", params: () => ({ inquiries: [] }) }),

    both("user.register", NOBODY, {
      what: "an account",
      params: (fresh) => ({ email: `${fresh}@example.com`, password: "correct horse battery", name: "Ann" }),
    }),
    both("user.register", NOBODY, {
      what: "a taken address",
      params: () => ({ email: ann.email, password: "correct horse battery", name: "Ann" }),
    }),
    both("user.register", NOBODY, {
      what: "a short password",
      params: (fresh) => ({ email: `${fresh}@b.example`, password: "x", name: "A" }),
    }),
    both("user.profile", user, { what: "a profile", params: () => ({}) }),
    both("user.changePassword", user, {
      what: "a wrong password",
      params: () => ({ currentPassword: "not this one", newPassword: "correct horse battery" }),
    }),
    both("user.changePassword", user, {
      what: "a short password",
      params: () => ({ currentPassword: "not this one", newPassword: "x" }),
    }),
    both("auth.login", NOBODY, { what: "tokens", params: () => ADMIN }),
    both("auth.login", NOBODY, { what: "a wrong password", params: () => ({ ...ADMIN, password: "wrong" }) }),
    both("auth.login", NOBODY, { what: "no password", params: () => ({ email: ADMIN.email }) }),
    both("auth.refresh", NOBODY, { what: "no such token", params: () => ({ refreshToken: "a".repeat(43) }) }),
    both("auth.logout", NOBODY, { what: "no such token", params: () => ({ refreshToken: "a".repeat(43) }) }),
    both("auth.jwks", NOBODY, { what: "the keys", params: () => ({}) }),
    both("notification.list", user, { what: "no rows", params: () => ({ limit: 0 }) }),
    both("transactions.list", admin, { what: "nothing in doubt", params: () => ({ state: "in-doubt" }) }),
    both("transactions.show", admin, { what: "none", params: () => ({ txId: NO_SUCH_ID }) }),
    both("transactions.force", admin, {
      what: "none",
      params: () => ({ txId: NO_SUCH_ID, outcome: "commit", reason: "a test" }),
    }),
    both("transactions.close", admin, {
      what: "none",
      params: () => ({ txId: NO_SUCH_ID, reason: "a test" }),
    }),
  ];
}

const replies = ({ replies: words }: { replies: string[] }) => words;

test("each action answers, refuses and fails the same over REST, gRPC and the broker", async () => {
  await settledOrder();
  const differences: object[] = [];
  const tried = new Set<string>();
  for (const each of cases()) {
    const schema = schemas.get(each.action);
    if (!schema) throw new Error(`there is no action ${each.action}`);
    tried.add(each.action);
    if (/^product\.(replace|adjustStock|remove)$/.test(each.action))
      for (const way of ["broker", "rest", "grpc"]) exists.set(way, (await made(`${way} ${newId()}`)).id);
    const broker = await overBroker(ways, each);
    const others = {
      ...(schema.rest ? { rest: await overRest(ways, schema, each) } : {}),
      ...(schema.grpc ? { grpc: await overGrpc(ways, schema, each) } : {}),
    };
    for (const [way, answer] of Object.entries(others))
      if (JSON.stringify(sorted(answer)) !== JSON.stringify(sorted(broker)))
        differences.push({ action: each.action, what: each.what, broker, [way]: answer });
  }
  expect(differences).toEqual([]);
  const reachable = [...schemas].filter(
    // What other services alone may call has a contract of its own: test/services/auth/carriers.test.ts.
    ([name, { rest, grpc, auth }]) => (rest || grpc) && auth !== "service" && !name.startsWith("api."),
  );
  expect([...tried].sort()).toEqual(reachable.map(([name]) => name).sort());
}, 60_000);

/** Members in one order, so that text can be compared. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => [name, sorted(member)]),
  );
}
