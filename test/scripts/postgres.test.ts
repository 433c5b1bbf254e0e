import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "@jest/globals";
import pg from "pg";
import { keepPostgres } from "../../scripts/postgres.keeper.ts";
import { ensurePostgres, type Postgres } from "../../scripts/postgres.ts";
import { birthOf } from "../../scripts/processes.ts";
import { until } from "../support/until.ts";

let dataDir: string;
const settings = { fsync: "off" };
const started: Postgres[] = [];

async function start(): Promise<Postgres> {
  const postgres = await ensurePostgres({ dataDir, settings });
  started.push(postgres);
  return postgres;
}

/** But for what a slow machine says while it waits. */
const keep = (said: string[]) => (line: string) => {
  if (!line.startsWith("waiting")) said.push(line);
};

const file = (name: string) => path.join(dataDir, name);

beforeAll(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), "shop-postgres-test-"));
});

// A test that fails half-way must not leave a server to the next one, nor children that keep Jest from ending.
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
  for (const postgres of started.splice(0)) await postgres.stop();
});

afterAll(async () => {
  await rm(dataDir, { recursive: true });
});

async function select(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: `${url}/postgres` });
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: `select ${text}`, rowMode: "array" });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}

interface Child {
  process: ChildProcess;
  postgres: { url: string; pid: number; adopted: boolean };
}

async function startChild(): Promise<Child> {
  const script = path.join(import.meta.dirname, "postgres.child.ts");
  const child = spawn(process.execPath, [script, dataDir], { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  const lines = createInterface({ input: child.stdout });
  const first = lines[Symbol.asyncIterator]().next();
  const line = (await first).value as string | undefined;
  if (line === undefined) throw new Error("the child ended before it had a server");
  return { process: child, postgres: JSON.parse(line) as Child["postgres"] };
}

async function stopChild(child: Child): Promise<void> {
  const exited = once(child.process, "exit");
  child.process.stdin?.end();
  expect(await exited).toEqual([0, null]);
}

async function killChild(child: Child): Promise<void> {
  const exited = once(child.process, "exit");
  child.process.kill("SIGKILL");
  await exited;
}

describe("the embedded PostgreSQL", () => {
  it("is made at the first start, keeps its data and its address, and stops", async () => {
    const first = await start();
    expect(first.adopted).toBe(false);
    expect(await select(first.url, "current_setting('listen_addresses')")).toBe("127.0.0.1");
    expect(await select(first.url, "current_setting('unix_socket_directories')")).toBe("");
    expect(
      await select(first.url, "pg_encoding_to_char(encoding) || ' ' || datlocale from pg_database limit 1"),
    ).toBe("UTF8 C.UTF-8");
    await select(first.url, "lo_create(4711)");
    await first.stop();
    expect(birthOf(first.pid)).toBeUndefined();
    expect(JSON.parse(readFileSync(file("postgres.json"), "utf8"))).toMatchObject({
      url: first.url,
      users: [],
    });

    const second = await start();
    expect(second).toMatchObject({ url: first.url, adopted: false });
    expect(await select(second.url, "count(*)::int from pg_largeobject_metadata")).toBe(1);
    await second.stop();
    await second.stop();
  });

  it("refuses another password", async () => {
    const postgres = await start();
    await expect(select(postgres.url.replace(/:[^:@]+@/, ":wrong@"), "1")).rejects.toThrow(/password/);
    await postgres.stop();
  });

  it("is adopted after its parent was killed, and stopped by who adopted it", async () => {
    const child = await startChild();
    await killChild(child);
    const postgres = await start();
    expect(postgres).toMatchObject({ adopted: true, pid: child.postgres.pid, url: child.postgres.url });
    await postgres.stop();
    expect(birthOf(postgres.pid)).toBeUndefined();
  });

  it("is shared by processes that start at once, and stopped by the last of them", async () => {
    const [one, two] = await Promise.all([startChild(), startChild()]);
    expect(two.postgres.pid).toBe(one.postgres.pid);
    expect([one, two].filter((child) => child.postgres.adopted)).toHaveLength(1);
    await stopChild(one);
    expect(await select(two.postgres.url, "1")).toBe(1);
    await stopChild(two);
    expect(birthOf(two.postgres.pid)).toBeUndefined();
  });

  it("starts after the server itself was killed and its pid went to another program", async () => {
    const child = await startChild();
    process.kill(child.postgres.pid, "SIGKILL");
    await killChild(child);
    // Our own pid stands for the stranger: alive, and certainly no postmaster.
    const lines = readFileSync(file("postgres/postmaster.pid"), "utf8").split("\n");
    const stranger = spawn("sleep", ["60"]);
    writeFileSync(file("postgres/postmaster.pid"), [stranger.pid, ...lines.slice(1)].join("\n"));
    const postgres = await start();
    expect(postgres.adopted).toBe(false);
    expect(birthOf(stranger.pid as number)).toBeDefined();
    stranger.kill();
    await once(stranger, "exit");
    await postgres.stop();
  });

  it("moves to another port where its own is taken", async () => {
    const before = JSON.parse(readFileSync(file("postgres.json"), "utf8")) as { url: string };
    const { createServer } = await import("node:net");
    const thief = createServer().listen(Number(new URL(before.url).port), "127.0.0.1");
    await once(thief, "listening");
    const postgres = await start();
    expect(postgres.url).not.toBe(before.url);
    expect(await select(postgres.url, "1")).toBe(1);
    await postgres.stop();
    thief.close();
  });

  it.each(["stopped", "running"])(
    "sets a new password where postgres.json was lost while it was %s",
    async (state) => {
      const child = state === "running" ? await startChild() : undefined;
      if (child) await killChild(child);
      await rm(file("postgres.json"));
      const postgres = await start();
      expect(await select(postgres.url, "count(*)::int from pg_largeobject_metadata")).toBe(1);
      await postgres.stop();
    },
  );

  it("refuses the data of another major version and says what to do", async () => {
    const versionFile = file("postgres/PG_VERSION");
    const version = readFileSync(versionFile, "utf8");
    writeFileSync(versionFile, "15\n");
    try {
      await expect(start()).rejects.toThrow(/made by PostgreSQL 15, .*pg_dumpall.*DATA_DIR.*DATABASE_URL/);
    } finally {
      writeFileSync(versionFile, version);
    }
    expect(existsSync(file("postgres/postmaster.pid"))).toBe(false);
  });

  it("removes what a killed initdb left, and keeps it from view", async () => {
    const other = await mkdtemp(path.join(tmpdir(), "shop-postgres-test-"));
    try {
      const script = path.join(import.meta.dirname, "postgres.child.ts");
      const child = spawn(process.execPath, [script, other], { stdio: ["pipe", "pipe", "inherit"] });
      while (!existsSync(path.join(other, "postgres.lock")))
        await new Promise((resolve) => setImmediate(resolve));
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
      expect(existsSync(path.join(other, "postgres"))).toBe(false);
      const postgres = await ensurePostgres({ dataDir: other, settings });
      expect(await select(postgres.url, "1")).toBe(1);
      await postgres.stop();
    } finally {
      await rm(other, { recursive: true });
    }
  });

  it("runs again at the same address a moment after it was killed, until it is stopped", async () => {
    const said: string[] = [];
    const postgres = await keepPostgres({ dataDir, settings, log: keep(said) });
    started.push(postgres);
    await select(postgres.url, "lo_create(4712)");
    process.kill(postgres.pid, "SIGKILL");
    const oid = () =>
      select(postgres.url, "max(oid)::int from pg_largeobject_metadata").catch(() => undefined);
    await until("it answers", async () => (await oid()) === 4712, 20_000, 100);
    await until("that was said", () => said.length === 2, 20_000, 100);
    const { pid } = JSON.parse(readFileSync(file("postgres.json"), "utf8"));
    expect(said).toEqual([
      `PostgreSQL (pid ${postgres.pid}) has ended; starting it again ...`,
      `PostgreSQL runs again (pid ${pid})`,
    ]);
    await postgres.stop();
    expect(birthOf(pid)).toBeUndefined();
  });

  it("is tried again until it can be started", async () => {
    const said: string[] = [];
    const postgres = await keepPostgres({ dataDir, settings, log: keep(said) });
    started.push(postgres);
    // As where the disk is full: it cannot write what it must.
    const version = file("postgres/PG_VERSION");
    const content = readFileSync(version);
    writeFileSync(version, "");
    process.kill(postgres.pid, "SIGKILL");
    await until("that was said", () => said.length === 2, 20_000, 100);
    expect(said[1]).toMatch(/^PostgreSQL cannot be started, it is tried every 5 s: /);
    writeFileSync(version, content);
    await until("it runs again", () => said.length === 3, 20_000, 100);
    expect(await select(postgres.url, "1")).toBe(1);
  });

  it("is not made anew under a shop whose data has gone", async () => {
    const said: string[] = [];
    const postgres = await keepPostgres({ dataDir, settings, log: keep(said) });
    started.push(postgres);
    await rename(file("postgres"), file("elsewhere"));
    process.kill(postgres.pid, "SIGKILL");
    await until("that was said", () => said.length === 2, 20_000, 100);
    expect(said[1]).toBe(
      `PostgreSQL cannot be started, it is tried every 5 s: ${file("postgres")} has gone; put it back, or stop the shop`,
    );
    await rename(file("elsewhere"), file("postgres"));
    await until("it runs again", () => said.length === 3, 20_000, 100);
    expect(await select(postgres.url, "1")).toBe(1);
  });
});
