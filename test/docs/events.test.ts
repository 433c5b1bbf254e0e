/** The schemas of docs/events say what the types of the services' api.ts say, and what real rows hold. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { kindOf, type ShopEvent } from "../../lib/event.ts";
import { newId } from "../../lib/ids.ts";
import type { EventsAnswer } from "../../mixins/events/outbox.mixin.ts";
import type { OrderConfirmedV1, OrderRejectedV1 } from "../../services/order/api.ts";
import type { ProductRemovedV1, ProductV1 } from "../../services/product/api.ts";
import type { UserRegisteredV1 } from "../../services/user/api.ts";
import { startTestShop, type TestShop } from "../harness/shop.ts";
import { query } from "../support/tampering.ts";
import { until } from "../support/until.ts";

const FOLDER = new URL("../../docs/events/", import.meta.url);
const formats = {
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
  "date-time": /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
};
const ajv = new Ajv2020({ allErrors: true, formats, allowUnionTypes: true });
const schemas = new Map<string, ValidateFunction>(
  readdirSync(FOLDER)
    .filter((file) => file.endsWith(".json"))
    .map((file) => [
      file.replace(/\.json$/, ""),
      ajv.compile(JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"))),
    ]),
);
const faultsOf = (schema: string, value: unknown): unknown => {
  const validate = schemas.get(schema);
  if (!validate) return `docs/events has no ${schema}.json`;
  return validate(value) ? [] : validate.errors;
};

const id = newId();
const order: OrderConfirmedV1 & OrderRejectedV1 = {
  orderId: id,
  userId: id,
  total: 1_980,
  currency: "EUR",
  lines: [{ productId: id, sku: "MUG", name: "Mug", quantity: 2, unitPrice: 990 }],
};
const product: ProductV1 = {
  ...{ productId: id, sku: "MUG", name: "Mug", price: 990, currency: "EUR" },
  ...{ stock: 3, version: 1 },
};
/** As the types have it: the compiler refuses a member too many or too few. */
const BY_TYPE: Record<string, object> = {
  "order.confirmed.v1": order,
  "order.rejected.v1": order,
  "user.registered.v1": { userId: id, email: "ann@example.com", name: "Ann" } satisfies UserRegisteredV1,
  "product.created.v1": product,
  "product.changed.v1": product,
  "product.removed.v1": { productId: id, sku: "MUG" } satisfies ProductRemovedV1,
};

test.each(Object.entries(BY_TYPE))(
  "the schema of %s has the members of its type, and no other",
  (kind, payload) => {
    expect(faultsOf(kind, payload)).toEqual([]);
    expect(faultsOf(kind, { ...payload, more: 1 })).not.toEqual([]);
    for (const member of Object.keys(payload))
      expect(faultsOf(kind, { ...payload, [member]: undefined })).not.toEqual([]);
  },
);

let shop: TestShop;
beforeAll(async () => {
  shop = await startTestShop();
});
afterAll(() => shop?.stop());

test("what a shop tells fits the schemas, and each of them is told", async () => {
  const meta = { user: { id: newId(), roles: ["user", "admin"] } };
  const call = <Result>(action: string, params: object) =>
    shop.broker.call<Result, object>(action, params, { meta });
  const fields = { sku: "MUG", name: "Mug", price: { amount: 990, currency: "EUR" }, stock: 9 };
  await call("user.register", { email: "ann@example.com", password: "analytical engine", name: "Ann" });
  const { id } = await call<{ id: string }>("product.create", fields);
  await call("product.adjustStock", { id, delta: 1, reason: "goods in" });
  const buy = () =>
    call<{ id: string }>("order.place", {
      items: [{ productId: id, quantity: 1 }],
      payment: { token: "tok_ok" },
    });
  await buy();
  // A second order is left as it was when its client was answered 202, and is aborted then.
  const { id: pending } = await buy();
  await query(
    shop.databases,
    "order",
    `update orders set state = 'prepared', answered_pending = true where id = '${pending}'`,
  );
  await call("order.abort", { txIds: [pending] });
  await call("product.remove", { id });
  const read = async (): Promise<ShopEvent[]> => {
    const pages = await Promise.all(
      ["order", "user", "product"].map((name) =>
        call<EventsAnswer>(`${name}.events`, { consumer: "test", after: 0, limit: 1_000 }),
      ),
    );
    return pages.flat().map(({ position: _, ...event }) => event);
  };
  const told = await until("all are published", async () => {
    const events = await read();
    return events.length >= 7 ? events : undefined;
  });
  for (const event of told) {
    expect(faultsOf("event", event)).toEqual([]);
    expect([kindOf(event), faultsOf(kindOf(event), event.payload)]).toEqual([kindOf(event), []]);
  }
  expect([...new Set(told.map(kindOf)), "event"].sort()).toEqual([...schemas.keys()].sort());
});
