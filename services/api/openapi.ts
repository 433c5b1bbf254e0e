/**
 * The OpenAPI 3.1 document, made from what the actions declare and the router serves: it cannot describe an endpoint
 * that does not exist, nor leave one out. No action names or nodes appear in it.
 */
import { readFileSync } from "node:fs";
import { ERRORS } from "../../lib/errors.ts";
import { type JsonSchema, objectSchemaOf, type ParamsSchema, paramsSchemaOf } from "./json-schema.ts";
import type { Operation } from "./router.ts";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const PROBLEM: JsonSchema = {
  type: "object",
  description: "RFC 9457. Branch on `code`; `detail` is for people.",
  required: ["type", "title", "status", "detail", "instance", "code", "requestId"],
  properties: {
    type: { type: "string", format: "uri-reference" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    instance: { type: "string", format: "uri-reference" },
    code: { $ref: "#/components/schemas/ErrorCode" },
    errors: {
      type: "array",
      description: "Each fault, at a JSON pointer into the body or in a path, query or header parameter.",
      items: {
        type: "object",
        required: ["code", "message"],
        properties: {
          pointer: { type: "string" },
          parameter: { type: "string" },
          code: { type: "string" },
          message: { type: "string" },
        },
      },
    },
    requestId: { type: "string" },
  },
};

const HEADERS: Record<string, JsonSchema> = {
  "Idempotency-Key": {
    description: "Repeating the request with the same key and body has the effect of sending it once.",
    schema: { type: "string", minLength: 1, maxLength: 255, pattern: "^[\\x21-\\x7e]+$" },
  },
  "If-Match": {
    description: "The version the change is based on, or a list of them; 412 where none is the current one.",
    schema: { type: "string" },
  },
  "If-None-Match": {
    description: "ETags already held; 304 where one of them is current.",
    schema: { type: "string" },
  },
};

export function openApiOf(operations: readonly Operation[]): JsonSchema {
  // What services say to one another is no part of the public contract.
  const served = operations.filter(({ action, auth }) => action && auth !== "service");
  const paths: Record<string, Record<string, JsonSchema>> = {};
  for (const operation of served) {
    const path = operation.path.replace(/:(\w+)/g, "{$1}");
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = operationObject(operation);
  }
  return {
    openapi: "3.1.0",
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    info: { title: "Concord", version, description: errorList() },
    servers: [{ url: "/" }],
    paths: Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      securitySchemes: { accessToken: { type: "http", scheme: "bearer", bearerFormat: "JWT" } },
      parameters: Object.fromEntries(
        Object.entries(HEADERS).map(([name, header]) => [name, { name, in: "header", ...header }]),
      ),
      responses: {
        Problem: {
          description: "Anything but success",
          content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
        },
      },
      schemas: {
        Problem: PROBLEM,
        ErrorCode: { type: "string", enum: Object.keys(ERRORS) },
        ...Object.assign({}, ...served.map((operation) => operation.schema.openapi?.schemas ?? {})),
      },
    },
  };
}

function operationObject(operation: Operation): JsonSchema {
  const { schema, auth, query, parameters, takesBody } = operation;
  const params = paramsSchemaOf((schema.params ?? {}) as Record<string, unknown>);
  const { summary, description, tags } = schema.openapi ?? {};
  const body = without(params, parameters);
  return {
    operationId: (operation.action as string).replace(/[^A-Za-z0-9]+(.)/g, (_, next: string) =>
      next.toUpperCase(),
    ),
    ...(summary ? { summary } : {}),
    ...(description ? { description } : {}),
    tags: tags ?? [operation.path.split("/")[1] ?? ""],
    security: auth === "none" ? [] : [{ accessToken: auth === "admin" ? ["admin"] : [] }],
    parameters: [
      ...[...parameters].map((name) => ({
        name,
        in: query.has(name) ? "query" : "path",
        required: query.has(name) ? params.required.includes(name) : true,
        schema: params.properties[name] ?? { type: "string" },
      })),
      ...(schema.openapi?.headers ?? []).map((name) => ({ $ref: `#/components/parameters/${name}` })),
    ],
    ...(takesBody && Object.keys(body.properties).length > 0
      ? {
          requestBody: {
            required: body.required.length > 0,
            content: { "application/json": { schema: objectSchemaOf(body) } },
          },
        }
      : {}),
    responses: responsesOf(operation),
  };
}

function responsesOf({ schema, auth, parameters, query, takesBody, successStatus }: Operation): JsonSchema {
  const declared = schema.openapi?.responses ?? { [successStatus]: { description: "Success" } };
  const hasPathParameters = parameters.size > query.size;
  const refused = [400, 406, 500, 503, 504];
  if (auth !== "none") refused.push(401);
  if (auth === "admin") refused.push(403);
  if (hasPathParameters) refused.push(404);
  if (takesBody) refused.push(413, 415);
  if (takesBody || query.size > 0) refused.push(422);
  const responses: Record<string, JsonSchema> = {};
  for (const status of refused) responses[status] = { $ref: "#/components/responses/Problem" };
  for (const [status, { description, schema: body, mediaType }] of Object.entries(declared)) {
    const type = mediaType ?? (Number(status) < 400 ? "application/json" : "application/problem+json");
    const content = body ?? (Number(status) < 400 ? undefined : { $ref: "#/components/schemas/Problem" });
    responses[status] = { description, ...(content ? { content: { [type]: { schema: content } } } : {}) };
  }
  return { ...responses, default: { $ref: "#/components/responses/Problem" } };
}

function without(params: ParamsSchema, names: ReadonlySet<string>): ParamsSchema {
  return {
    ...params,
    properties: Object.fromEntries(Object.entries(params.properties).filter(([name]) => !names.has(name))),
    required: params.required.filter((name) => !names.has(name)),
  };
}

const errorList = (): string =>
  `Errors are problem documents (RFC 9457) with one of these codes:\n\n${Object.entries(ERRORS)
    .map(([code, { status, title }]) => `- \`${code}\` (${status}): ${title}`)
    .join("\n")}`;
