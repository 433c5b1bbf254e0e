import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "@jest/globals";
import { violations } from "./import-law.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");

/** What is committed or would be: everything that git does not ignore. */
function sources(): { path: string; text: string }[] {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  return listed
    .split("\0")
    .filter((name) => /\.(ts|cjs|mjs|js)$/.test(name) && existsSync(path.join(ROOT, name)))
    .map((name) => ({ path: name, text: readFileSync(path.join(ROOT, name), "utf8") }));
}

const violationsOf = (name: string, text: string) => violations([{ path: name, text }]);

describe("the import law", () => {
  it("holds in the whole tree", () => {
    const files = sources();
    expect(files.length).toBeGreaterThan(10);
    expect(violations(files)).toEqual([]);
  });

  it.each([
    ["lib/money.ts", 'import { config } from "../config/index.ts";'],
    ["config/index.ts", 'import { Mailbox } from "../actors/mailbox.ts";'],
    ["actors/mailbox.ts", 'import { migrate } from "../mixins/migrations.ts";'],
    ["actors/protocol/driver.ts", 'import { register } from "../transaction-manager/register.ts";'],
    ["actors/mailbox.ts", 'import { CONTRACT } from "../proto/contract.ts";'],
    ["proto/orders.ts", 'import { unavailable } from "../mixins/database.errors.ts";'],
    ["mixins/events.mixin.ts", 'import type { Order } from "../services/order/api.ts";'],
    ["services/order/order.ts", 'import { stockOf } from "../product/api.ts";'],
    ["services/order/order.ts", 'import type { Product } from "../product/product.ts";'],
    ["services/order/order.ts", 'import {\n  type Product,\n} from "../product/api.ts";'],
    ["services/order/order.ts", 'export { type Product } from "../product/api.ts";'],
    ["services/order/order.ts", 'import "../product/product.ts";'],
    ["services/order/order.ts", 'const product = await import("../product/product.ts");'],
    ["services/order/order.ts", 'const worker = new URL("../product/worker.ts", import.meta.url);'],
    ["services/order/order.ts", 'import { run } from "../../actors/transaction-manager/register.ts";'],
    ["actors/transaction-manager/register.ts", 'import { order } from "../../services/order/order.ts";'],
    ["services/order/order.ts", 'import { ensurePostgres } from "../../scripts/postgres.ts";'],
    ["services/order/order.ts", "const port = process.env.PORT;"],
    ["mixins/grpc.mixin.ts", 'import { env } from "node:process";'],
    ["moleculer.config.ts", "const level = process.env.LOGLEVEL;"],
    ["services/order/order.ts", "\n".repeat(400)],
  ])("refuses in %s: %s", (name, text) => {
    const [violation, ...more] = violationsOf(name, text);
    expect(violation).toMatch(new RegExp(`^${name.replaceAll(".", "\\.")}:\\d+: `));
    expect(more).toEqual([]);
  });

  it.each([
    ["services/order/order.ts", 'import type { Product } from "../product/api.ts";'],
    ["services/order/order.ts", 'export type { Product } from "../product/api.ts";'],
    ["services/order/order.ts", 'import { totalOf } from "../../lib/money.ts";'],
    ["services/order/order.ts", 'import type { Vote } from "../../actors/protocol/messages.ts";'],
    ["services/order/order.service.ts", 'import { place } from "./place.ts";'],
    [
      "actors/transaction-manager/register.ts",
      'import type { Database } from "../../mixins/database.mixin.ts";',
    ],
    ["actors/transaction-manager/register.ts", 'import { Supervisor } from "../supervisor.ts";'],
    ["mixins/grpc/server.ts", 'import { CONTRACT } from "../../proto/contract.ts";'],
    ["config/index.ts", "const port = process.env.PORT;"],
    ["scripts/start.ts", 'import { config } from "../config/index.ts"; const home = process.env.HOME;'],
    [
      "lib/ids.ts",
      '// import { config } from "../config/index.ts"\n/* process.env */ import { v7 } from "uuid";',
    ],
    ["services/order/order.ts", "\n".repeat(398)],
  ])("allows in %s: %s", (name, text) => {
    expect(violationsOf(name, text)).toEqual([]);
  });

  it("names the line of the violation", () => {
    expect(violationsOf("lib/a.ts", '\n\nimport { config } from "../config/index.ts";\n')).toEqual([
      "lib/a.ts:3: imports config/index.ts: lib may not know config",
    ]);
  });
});
