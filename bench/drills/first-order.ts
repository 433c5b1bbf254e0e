/**
 * What a newcomer does, timed: git clone, npm ci, npm start, and an order. The clone is of the last commit here; npm
 * uses its cache as it finds it.
 */
import { existsSync } from "node:fs";
import { databaseName } from "../../config/database.ts";
import { DATABASES } from "../../config/index.ts";
import { audit } from "../../scripts/audit/audit.ts";
import { freePort } from "../../scripts/ports.ts";
import { readRecord } from "../../scripts/postgres.record.ts";
import { ShopClient, unexpected } from "../../scripts/replay/shop-client.ts";
import type { Drill } from "./drill.ts";
import { auditLine, untilReady } from "./shop.ts";
import { endOf, ROOT, type Site } from "./site.ts";

const TOTAL_SECONDS_MAX = 90;

export const firstOrder: Drill = {
  name: "first-order",
  about: `a fresh clone, npm ci, npm start, and the first order: in less than ${TOTAL_SECONDS_MAX} s`,
  takes: [],
  async run(site) {
    const clone = site.path("clone");
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const marks = [performance.now()];
    const mark = (what: string) => {
      marks.push(performance.now());
      const ms = Math.round((marks.at(-1) as number) - (marks.at(-2) as number));
      site.say(`${what}: ${ms} ms`);
      return ms;
    };

    await succeed(site, "git", ["clone", "--quiet", ROOT, clone], ROOT);
    const cloneMs = mark("git clone");
    await succeed(site, "npm", ["ci"], clone);
    const installMs = mark("npm ci");
    // npm start makes its own data directory here; the site has to know, to end its PostgreSQL whatever happens.
    const dataDir = site.dataDir("clone/.data");
    const shop = site.run("npm", ["start"], "start", {
      cwd: clone,
      env: { PORT: String(port), GRPC_PORT: "0" },
    });
    await untilReady(site, url, shop, "start");
    const startMs = mark("npm start, until ready");
    await buy(url);
    const firstOrderMs = mark("register, log in, list, order");
    const totalMs = cloneMs + installMs + startMs + firstOrderMs;

    const record = await readRecord(dataDir);
    if (!existsSync(dataDir) || !record) throw new Error(`${dataDir} holds no shop`);
    const urls = DATABASES.map((name) => [
      name,
      Object.assign(new URL(record.url), { pathname: `/${databaseName(name)}` }).href,
    ]);
    const report = await audit(Object.fromEntries(urls));
    site.say(auditLine(report));
    const auditOk = report.ok && report.inDoubt === 0;
    const ok = totalMs < TOTAL_SECONDS_MAX * 1_000 && auditOk;
    return { cloneMs, installMs, startMs, firstOrderMs, totalMs, auditOk, ok };
  },
};

async function succeed(site: Site, command: string, args: string[], cwd: string): Promise<void> {
  const what = [command, args[0]].join("-");
  const ended = await endOf(site.run(command, args, what, { cwd }));
  if (ended !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${ended}: ${site.tailOf(what)}`);
}

/** The first 201 from POST /orders, of a new customer for a demo product. */
async function buy(url: string): Promise<void> {
  const client = new ShopClient(url, { sockets: 1 });
  const ask = async <Body>(
    status: number,
    method: "GET" | "POST",
    path: string,
    body?: object,
    token?: string,
  ) => {
    const answer = await client.once<Body>({ method, path, body, token });
    if (answer.status !== status) throw unexpected(`${method} ${path}`, answer);
    return answer.body;
  };
  try {
    const account = { email: "ada@example.com", password: "analytical engine" };
    await ask(201, "POST", "/register", { ...account, name: "Ada" });
    const { accessToken } = await ask<{ accessToken: string }>(200, "POST", "/login", account);
    const { items } = await ask<{ items: { id: string }[] }>(200, "GET", "/products?limit=1");
    const order = { items: [{ productId: items[0]?.id, quantity: 1 }], payment: { token: "tok_ok" } };
    await ask(201, "POST", "/orders", order, accessToken);
  } finally {
    client.close();
  }
}
