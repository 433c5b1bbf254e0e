/** The console as operators use it: the program in a process of its own, driven through its standard input. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { startNats } from "../../../scripts/servers/nats.ts";
import type { Server } from "../../../scripts/servers/server.ts";
import type { Product } from "../../../services/product/api.ts";
import { cloneDatabases, DIRECTORY_VARIABLE } from "../../harness/databases.ts";
import { describeWith } from "../../harness/servers.ts";
import { startTestShop, type TestShop } from "../../harness/shop.ts";
import { holdInquiries, leaveInDoubt } from "../../support/doubt.ts";
import { Console } from "./operator.ts";

const describe = await describeWith(startNats);

describe("npm run repl", () => {
  let nats: Server;
  let shop: TestShop;
  let mug: Product;
  let home: string;
  let operator: Console;
  beforeAll(async () => {
    nats = await startNats();
    shop = await startTestShop({ env: { TRANSPORTER: nats.url } });
    holdInquiries(shop.broker);
    mug = await shop.broker.call(
      "product.create",
      { sku: "MUG", name: "Mug", price: { amount: 990, currency: "EUR" }, stock: 100 },
      { meta: { user: { id: "00000000-0000-7000-8000-000000000000", roles: ["admin"] } } },
    );
    home = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "home-"));
    operator = new Console("scripts/repl.ts", [], {
      HOME: home,
      TRANSPORTER: nats.url,
      NAMESPACE: shop.broker.namespace,
    });
    await operator.until(/\$ $/);
  }, 60_000);
  afterAll(async () => {
    await operator.kill();
    await shop.stop();
    await nats.stop();
    await rm(home, { recursive: true });
  });

  test("lists what is in doubt, shows it, forces it with a reason, and shows who did", async () => {
    expect(await operator.type("tx list", /nothing is in doubt/)).toBeTruthy();
    const txId = await leaveInDoubt(shop.broker, mug, { quantity: 3 });
    const listed = await operator.type("tx list", /payment prepared/);
    expect(listed).toMatch(
      new RegExp(
        `${txId}  in-doubt  \\d+ (ms|s) +3 +EUR 29\\.70  order prepared, product prepared, payment prepared`,
      ),
    );
    expect(await operator.type(`tx show ${txId}`, /payment +prepared/)).toMatch(/decision +none/);
    expect(await operator.type(`tx force ${txId} commit`, /say why/)).toBeTruthy();
    const forced = await operator.type(
      `tx force ${txId} commit --reason "all have voted, and the manager is gone"`,
      /forced /,
    );
    expect(forced).toMatch(/decision +commit/);
    expect(forced).toMatch(
      /forced {4}commit by console at .*Z: "all have voted, and the manager is gone"; the register says commit/,
    );
    expect(await operator.type(`tx force ${txId} abort --reason "no, not"`, /outcome_contradicted/)).toMatch(
      /The register holds commit/,
    );
  });

  test("shows the actors of every node", async () => {
    const shown = await operator.type("actors", /transaction-manager +recovery +loop/);
    expect(shown).toContain(shop.broker.nodeID);
    for (const row of [/order +prepare +mailbox/, /payment +card-debts +loop/, /product +inquiry +loop/])
      expect(shown).toMatch(row);
  });

  test("lines that are pasted together are carried out one after the other", async () => {
    const ids = ["a", "b", "c", "d"].map((digit) => `0192f000-0000-7000-8000-00000000000${digit}`);
    const printed = await operator.type(
      ids.map((id) => `tx show ${id}`).join("\n"),
      new RegExp(`${ids.at(-1)}; nobody`),
    );
    expect([...printed.matchAll(/no transaction (\S+);/g)].map((match) => match[1])).toEqual(ids);
  });

  test("says a mistake in a line, never with a stack", async () => {
    const lines: [string, RegExp][] = [
      ["tx dance", /there is no tx dance; there is\ntx list/],
      ["tx show", /name the transaction/],
      ["tx show 7", /must be a valid UUID/],
      ["tx force 0192f000-0000-7000-8000-000000000000 maybe", /commit\|abort/],
      ["tx close 0192f000-0000-7000-8000-000000000000 --reason done", /\(not_found\)/],
      ["tx list --limit 0", /limit/],
    ];
    for (const [line, expected] of lines) await operator.type(line, expected);
    expect(operator.output).not.toMatch(/\n +at |node_modules/);
  });

  test("ends with its input, after what was typed, and leaves the shop alone", async () => {
    const from = operator.output.length;
    operator.process.stdin?.end("tx list --state heuristic\n");
    expect(await operator.ended()).toBe(0);
    expect(operator.output.slice(from)).toMatch(/no open heuristics/);
    expect(shop.broker.getLocalService("transactions")).toBeTruthy();
  });
});

test("npm run repl without a cluster says where the console is", async () => {
  const operator = new Console("scripts/repl.ts", [], { TRANSPORTER: "" });
  expect(await operator.ended()).toBe(1);
  expect(operator.output).toMatch(/^The console cannot open: TRANSPORTER is not set.*npm start -- --repl\n$/);
});

test("npm start -- --repl has the console inside, and exit stops the whole shop", async () => {
  const databases = await cloneDatabases();
  const home = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] ?? tmpdir(), "home-"));
  const urls = Object.entries(databases.urls).map(([name, url]) => [
    `DATABASE_URL_${name.toUpperCase().replaceAll("-", "_")}`,
    url,
  ]);
  const shop = new Console("scripts/start.ts", ["--repl"], {
    ...Object.fromEntries(urls),
    HOME: home,
    DATA_DIR: home,
    PORT: "0",
    BCRYPT_COST: "4",
  });
  try {
    await shop.until(/shop \$ $/);
    await shop.type("tx list", /nothing is in doubt/);
    await shop.type("actors", /recovery +loop/);
    shop.process.stdin?.write("exit\n");
    expect(await shop.ended()).toBe(0);
  } finally {
    await shop.kill();
    await databases.drop();
    await rm(home, { recursive: true });
  }
}, 60_000);
