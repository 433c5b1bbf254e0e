/** The OpenAPI document of the whole shop: what a generated client learns of every answer, and that answers are so. */
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Ajv2020 } from "ajv/dist/2020.js";
import { ADMIN, startTestShop, type TestShop } from "../harness/shop.ts";
import { Client, type Reply } from "../support/client.ts";

interface Document {
  paths: Record<
    string,
    Record<string, { responses: Record<string, { content?: Record<string, { schema?: object }> }> }>
  >;
  components: object;
}

let shop: TestShop;
let client: Client;
let document: Document;
beforeAll(async () => {
  shop = await startTestShop();
  client = new Client(shop.url);
  document = (await client.get("/openapi.json")).body;
});
afterAll(async () => {
  client?.close();
  await shop?.stop();
});

const schemaOf = (method: string, path: string, status: string): object | undefined =>
  document.paths[path]?.[method]?.responses[status]?.content?.["application/json"]?.schema;

test("every successful answer with a body has a schema", () => {
  const without = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses }]) =>
      Object.keys(responses)
        .filter((status) => /^20[^4]$/.test(status) && !schemaOf(method, path, status))
        .map((status) => `${method} ${path} ${status}`),
    ),
  );
  expect(without).toEqual([]);
});

test("accounts, tokens, keys and health are answered as it says", async () => {
  // Not strict: the components lie in the schema, and formats are annotations.
  const ajv = new Ajv2020({ allErrors: true, strict: false, validateFormats: false });
  const expectAsSaid = async (method: string, path: string, { status, body }: Reply): Promise<void> => {
    const schema = schemaOf(method, path, String(status));
    if (!schema) throw new Error(`${method} ${path}: there is no schema for ${status}`);
    const validate = ajv.compile({ ...schema, components: document.components });
    validate(body);
    expect({ path, errors: validate.errors }).toEqual({ path, errors: null });
  };
  const ann = { email: "ann@example.com", password: "correct horse", name: "Ann" };
  await expectAsSaid("post", "/register", await client.post("/register", ann));
  const login = await client.post("/login", ADMIN);
  await expectAsSaid("post", "/login", login);
  const { accessToken, refreshToken } = login.body;
  await expectAsSaid("post", "/token/refresh", await client.post("/token/refresh", { refreshToken }));
  await expectAsSaid("get", "/profile", await client.get("/profile", accessToken));
  for (const path of ["/.well-known/jwks.json", "/health/live", "/health/ready"])
    await expectAsSaid("get", path, await client.get(path));
});
