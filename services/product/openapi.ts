/** How products look in the OpenAPI document (JSON Schema 2020-12). */
const uuid = { type: "string", format: "uuid" } as const;
const time = { type: "string", format: "date-time" } as const;

export const MONEY_SCHEMA = {
  type: "object",
  description: "An amount in minor units (cents) of an ISO 4217 currency.",
  required: ["amount", "currency"],
  properties: {
    amount: { type: "integer", minimum: 0 },
    currency: { type: "string", pattern: "^[A-Z]{3}$" },
  },
} as const;

/** Of answers that may come from the gateway's memory. */
export const STALE_NOTE =
  "While the catalogue cannot be reached this may be an old copy: it then carries Age and Cache-Status, and its stock and available are null.";

export const PRODUCT_SCHEMAS = {
  Money: MONEY_SCHEMA,
  Product: {
    type: "object",
    required: [
      "id",
      "sku",
      "name",
      "description",
      "price",
      "stock",
      "available",
      "version",
      "createdAt",
      "updatedAt",
    ],
    properties: {
      id: uuid,
      sku: { type: "string", maxLength: 64 },
      name: { type: "string" },
      description: { type: "string" },
      price: { $ref: "#/components/schemas/Money" },
      stock: { type: ["integer", "null"], description: "Units on hand; null in an old copy." },
      available: {
        type: ["integer", "null"],
        description: "Units on hand less those reserved by orders on their way; null in an old copy.",
      },
      version: { type: "integer", description: "Moves on edits, not on stock; the value for If-Match." },
      createdAt: time,
      updatedAt: time,
    },
  },
  ProductPage: {
    type: "object",
    required: ["items", "nextCursor"],
    properties: {
      items: { type: "array", items: { $ref: "#/components/schemas/Product" } },
      nextCursor: { type: ["string", "null"] },
    },
  },
};

/** The response of one product under `status`. */
export const productResponse = (status: number, description: string) => ({
  schemas: PRODUCT_SCHEMAS,
  responses: { [status]: { description, schema: { $ref: "#/components/schemas/Product" } } },
});
