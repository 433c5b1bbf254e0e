import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { ERRORS } from "../../../lib/errors.ts";
import { objectSchemaOf, paramsSchemaOf } from "../../../services/api/json-schema.ts";
import { TestGateway } from "./gateway.ts";

const schemaOf = (rule: unknown): unknown => paramsSchemaOf({ field: rule }).properties.field;

describe("a validator's rule", () => {
  test.each<[unknown, unknown]>([
    ["string", { type: "string" }],
    ["string|min:1|max:64|optional", { type: "string", minLength: 1, maxLength: 64 }],
    [
      { type: "string", pattern: /^[A-Z]{3}$/, length: 3 },
      { type: "string", minLength: 3, maxLength: 3, pattern: "^[A-Z]{3}$" },
    ],
    [
      { type: "string", empty: false, enum: ["a", "b"] },
      { type: "string", enum: ["a", "b"], minLength: 1 },
    ],
    [
      "number|integer|min:1|max:100|convert|default:20",
      { type: "integer", minimum: 1, maximum: 100, default: 20 },
    ],
    [
      { type: "number", positive: true },
      { type: "number", exclusiveMinimum: 0 },
    ],
    [{ type: "enum", values: ["name", "-name"] }, { enum: ["name", "-name"] }],
    ["uuid", { type: "string", format: "uuid" }],
    ["email|max:254", { type: "string", format: "email", maxLength: 254 }],
    ["string[]", { type: "array", items: { type: "string" } }],
    [
      { type: "array", items: "uuid", min: 1, max: 9, unique: true },
      {
        type: "array",
        items: { type: "string", format: "uuid" },
        minItems: 1,
        maxItems: 9,
        uniqueItems: true,
      },
    ],
    [
      { $$type: "object", $$strict: true, a: "boolean", b: "any|optional" },
      {
        type: "object",
        properties: { a: { type: "boolean" }, b: {} },
        required: ["a"],
        additionalProperties: false,
      },
    ],
    [
      { type: "object", strict: true, props: { amount: "number|integer" } },
      {
        type: "object",
        properties: { amount: { type: "integer" } },
        required: ["amount"],
        additionalProperties: false,
      },
    ],
    [["string", "number"], { anyOf: [{ type: "string" }, { type: "number" }] }],
    [{ type: "string", nullable: true }, { type: ["string", "null"] }],
    [
      { type: "record", key: "string", value: "number" },
      { type: "object", additionalProperties: { type: "number" } },
    ],
  ])("%j says the same as JSON Schema", (rule, schema) => {
    expect(schemaOf(rule)).toEqual(schema);
  });

  test("is required unless it is optional or has a default", () => {
    const params = {
      $$strict: true,
      a: "string",
      b: "string|optional",
      c: { type: "number", default: 1 },
      d: "forbidden",
    };
    expect(objectSchemaOf(paramsSchemaOf(params))).toMatchObject({
      required: ["a"],
      additionalProperties: false,
    });
    expect(Object.keys(paramsSchemaOf(params).properties)).toEqual(["a", "b", "c"]);
  });
});

describe("the document", () => {
  const gateway = new TestGateway([
    {
      name: "order",
      settings: { rest: "/" } as never,
      actions: {
        place: {
          rest: "POST /orders",
          successStatus: 201,
          params: { $$strict: true, items: "object[]" } as never,
          openapi: {
            summary: "Buy",
            headers: ["Idempotency-Key"],
            responses: { 201: { description: "Bought", schema: { $ref: "#/components/schemas/Order" } } },
            schemas: { Order: { type: "object" } },
          },
          handler: () => undefined,
        },
        list: {
          rest: "GET /orders/user/:userId",
          auth: "admin",
          query: ["limit"],
          params: { userId: "uuid", limit: "number|integer|default:20|convert" } as never,
          handler: () => undefined,
        },
        hidden: { handler: () => undefined },
      },
    },
  ]);
  // biome-ignore lint/suspicious/noExplicitAny: a generated document
  let document: any;
  beforeAll(async () => {
    await gateway.broker.start();
    document = (await gateway.send("/openapi.json")).body;
  });
  afterAll(() => gateway.broker.stop());

  test("lists what is served, and nothing else", () => {
    expect(Object.keys(document.paths)).toEqual([
      "/health/live",
      "/health/ready",
      "/openapi.json",
      "/orders",
      "/orders/user/{userId}",
    ]);
    expect(document.openapi).toBe("3.1.0");
  });

  test("puts each param where it travels", () => {
    const list = document.paths["/orders/user/{userId}"].get;
    expect(list.parameters).toEqual([
      { name: "limit", in: "query", required: false, schema: { type: "integer", default: 20 } },
      { name: "userId", in: "path", required: true, schema: { type: "string", format: "uuid" } },
    ]);
    expect(list.requestBody).toBeUndefined();
    expect(document.paths["/orders"].post.requestBody.content["application/json"].schema).toEqual({
      type: "object",
      properties: { items: { type: "array", items: { type: "object" } } },
      required: ["items"],
      additionalProperties: false,
    });
  });

  test("says who may call", () => {
    expect(document.paths["/health/live"].get.security).toEqual([]);
    expect(document.paths["/orders"].post.security).toEqual([{ accessToken: [] }]);
    expect(document.paths["/orders/user/{userId}"].get.security).toEqual([{ accessToken: ["admin"] }]);
  });

  test("shows success as declared and every refusal as a problem", () => {
    const { responses, parameters } = document.paths["/orders"].post;
    expect(responses[201].content["application/json"].schema).toEqual({ $ref: "#/components/schemas/Order" });
    for (const status of [400, 401, 406, 413, 415, 422, 503, 504, "default"])
      expect(responses[status]).toEqual({ $ref: "#/components/responses/Problem" });
    expect(parameters).toEqual([{ $ref: "#/components/parameters/Idempotency-Key" }]);
  });

  test("lists every error code", () => {
    expect(document.components.schemas.ErrorCode.enum).toEqual(Object.keys(ERRORS));
  });

  test("refers to nothing that is not in it", () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
      (match) => match[1] as string,
    );
    expect(refs.length).toBeGreaterThan(0);
    for (const ref of refs)
      expect(ref.split("/").reduce((node, step) => node?.[step], document)).toBeInstanceOf(Object);
  });
});

describe("the reference pages", () => {
  const gateway = new TestGateway([]);
  beforeAll(() => gateway.broker.start());
  afterAll(() => gateway.broker.stop());

  test("load everything from this server", async () => {
    const page = await gateway.send("/docs", { headers: { accept: "text/html" } });
    expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
    expect(page.headers["content-security-policy"]).toMatch(/^default-src 'none'; script-src 'self';/);
    const links = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] as string);
    expect(links).toHaveLength(4);
    for (const link of links) expect((await gateway.send(link)).status).toBe(200);
  });

  test.each([
    { range: "bytes=99999999-" },
    { range: "bytes=0-1" },
    { "if-match": '"x"' },
    { "if-unmodified-since": "Thu, 01 Jan 1970 00:00:00 GMT" },
  ])("answer a file as a whole, whatever part or state of it is asked for: %j", async (headers) => {
    for (const method of ["GET", "HEAD"])
      expect((await gateway.send("/docs/swagger-ui.css", { method, headers })).status).toBe(200);
  });

  test("list every error where problem documents point to", async () => {
    const { text } = await gateway.send("/docs/errors");
    for (const code of Object.keys(ERRORS)) expect(text).toContain(`id="${code}"`);
  });

  test.each(["/docs/package.json", "/docs/swagger-ui.js", "/docs/..%2fpackage.json"])(
    "hide %s",
    async (path) => {
      expect((await gateway.send(path)).status).toBe(404);
    },
  );
});
