/** How orders look in the OpenAPI document (JSON Schema 2020-12). Money is defined by product. */
const uuid = { type: "string", format: "uuid" } as const;
const money = { $ref: "#/components/schemas/Money" } as const;

const ORDER_SCHEMAS = {
  Order: {
    type: "object",
    required: ["id", "userId", "status", "items", "total", "payment", "createdAt"],
    properties: {
      id: uuid,
      userId: uuid,
      status: { enum: ["pending", "confirmed", "rejected"] },
      items: {
        type: "array",
        items: {
          type: "object",
          required: ["productId", "sku", "name", "quantity", "unitPrice", "lineTotal"],
          properties: {
            productId: uuid,
            sku: { type: "string" },
            name: { type: "string" },
            quantity: { type: "integer", minimum: 1 },
            unitPrice: money,
            lineTotal: money,
          },
        },
      },
      total: money,
      payment: {
        type: "object",
        required: ["status"],
        properties: { status: { enum: ["authorized", "captured", "voided"] } },
      },
      createdAt: { type: "string", format: "date-time" },
    },
  },
  PendingOrder: {
    type: "object",
    required: ["id", "status"],
    properties: { id: uuid, status: { const: "pending" } },
  },
  OrderPage: {
    type: "object",
    required: ["items", "nextCursor"],
    properties: {
      items: { type: "array", items: { $ref: "#/components/schemas/Order" } },
      nextCursor: { type: ["string", "null"] },
    },
  },
};

const schema = (name: keyof typeof ORDER_SCHEMAS) => ({ $ref: `#/components/schemas/${name}` });

export const PLACE_OPENAPI = {
  summary: "Buy: all or nothing over order, stock and payment",
  description:
    "Repeat a request whose answer was lost with the same Idempotency-Key: it is answered with the same order and never buys twice. After a 402 or 409 no stock and no money is held, and the key is free again.",
  tags: ["orders"],
  headers: ["Idempotency-Key"],
  schemas: ORDER_SCHEMAS,
  responses: {
    201: { description: "Bought; every later read says confirmed.", schema: schema("Order") },
    202: {
      description: "Not decided yet; look at Location until the status is final.",
      schema: schema("PendingOrder"),
    },
  },
};

export const GET_OPENAPI = {
  summary: "One order of one's own",
  tags: ["orders"],
  schemas: ORDER_SCHEMAS,
  responses: { 200: { description: "The order.", schema: schema("Order") } },
};

export const LIST_OPENAPI = {
  summary: "A user's orders, newest first",
  tags: ["orders"],
  schemas: ORDER_SCHEMAS,
  responses: { 200: { description: "A page of orders.", schema: schema("OrderPage") } },
};
