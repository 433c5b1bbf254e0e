/** How accounts look in the OpenAPI document (JSON Schema 2020-12). */
const ACCOUNT_SCHEMAS = {
  Account: {
    type: "object",
    required: ["id", "email", "name", "roles", "createdAt"],
    properties: {
      id: { type: "string", format: "uuid" },
      email: { type: "string", format: "email" },
      name: { type: "string" },
      roles: { type: "array", items: { enum: ["user", "admin"] } },
      createdAt: { type: "string", format: "date-time" },
    },
  },
};

const accountResponse = (status: number, description: string) => ({
  tags: ["accounts"],
  schemas: ACCOUNT_SCHEMAS,
  responses: { [status]: { description, schema: { $ref: "#/components/schemas/Account" } } },
});

export const REGISTER_OPENAPI = { summary: "Register a customer", ...accountResponse(201, "Registered.") };

export const PROFILE_OPENAPI = { summary: "Your own account", ...accountResponse(200, "The account.") };
