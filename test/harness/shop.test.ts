import { afterAll, beforeAll, describe, expect, it } from "@jest/globals";
import pg from "pg";
import { cloneDatabases } from "./databases.ts";
import { ADMIN, startTestShop, type TestShop } from "./shop.ts";

describe("a shop in a test", () => {
  let shop: TestShop;
  beforeAll(async () => {
    shop = await startTestShop();
  });
  afterAll(() => shop.stop());

  it("answers over HTTP and lets the admin in", async () => {
    const response = await fetch(`${shop.url}/login`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(ADMIN),
    });
    expect(response.status).toBe(200);
  });

  it("shares its databases with a second one that has another configuration", async () => {
    const second = await startTestShop({
      databases: shop.databases,
      env: { CORS_ORIGINS: "http://a.example" },
    });
    const origins = async ({ url }: TestShop) => {
      const response = await fetch(`${url}/products`, { headers: { origin: "http://a.example" } });
      return response.headers.get("access-control-allow-origin");
    };
    expect(await origins(second)).toBe("http://a.example");
    expect(await origins(shop)).toBeNull();
    await second.stop();
    expect((await fetch(`${shop.url}/products`)).status).toBe(200);
  });

  it("leaves the environment as it was", () => {
    expect(process.env.DATABASE_URL_ORDER).toBeUndefined();
    expect(process.env.ADMIN_PASSWORD).toBeUndefined();
  });
});

describe("a test's databases", () => {
  it("are its own, and migrated", async () => {
    const [one, two] = await Promise.all([cloneDatabases(["order"]), cloneDatabases(["order"])]);
    expect(one.urlOf("order")).not.toBe(two.urlOf("order"));
    expect(() => one.urlOf("user")).toThrow(/not cloned/);
    const client = new pg.Client({ connectionString: one.urlOf("order") });
    await client.connect();
    const { rows } = await client.query("select 1 from knex_migrations");
    expect(rows.length).toBeGreaterThan(0);
    await client.end();
    await Promise.all([one.drop(), two.drop()]);
  });

  it("report a connection that was left open, by what it ran last", async () => {
    const databases = await cloneDatabases(["order"]);
    const client = new pg.Client({ connectionString: databases.urlOf("order") });
    // Dropping the database ends the connection, which is the point.
    client.on("error", () => undefined);
    await client.connect();
    await client.query("select 'forgotten'");
    await expect(databases.drop()).rejects.toThrow(/left open.*\n.*select 'forgotten'/);
    await client.end();
  });
});
