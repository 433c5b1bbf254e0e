/** What the greeting of a start claims. */
import { mkdtemp } from "node:fs/promises";
import path from "node:path";
import { expect, it } from "@jest/globals";
import { loadConfig } from "../../config/index.ts";
import { keepAdminPassword } from "../../scripts/admin-password.ts";
import { greeting } from "../../scripts/banner.ts";
import { DIRECTORY_VARIABLE } from "../harness/databases.ts";

const DATA_DIR = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] as string, "banner-"));
const greet = (env: Record<string, string | undefined>) =>
  greeting("http://localhost:3000", loadConfig({ DATA_DIR, ...env }), null);

it("offers a purchase where the gateway sells, and not where it stands beside auth alone", async () => {
  const stands = { SERVICE_SECRET: "at-least-sixteen-characters" };
  expect(await greet({})).toContain("Register, log in and buy");
  for (const env of [{ SERVICES: "auth,api", USER_URL: "http://u" }, { AUTH_URL: "http://a" }])
    expect(await greet({ ...stands, ...env })).not.toContain("Register, log in and buy");
});

it("names the admin of the first start, whatever is configured now", async () => {
  const changed = { ADMIN_EMAIL: "new@example.com", ADMIN_PASSWORD: "changed since" };
  expect(await greet(changed)).toMatch(/admin .*of the first start/);
  await keepAdminPassword(DATA_DIR, { email: "first@example.com", password: "made then" });
  expect(await greet(changed)).toContain("first@example.com, the password in ");
  expect(await greet(changed)).not.toContain("new@example.com");
});
