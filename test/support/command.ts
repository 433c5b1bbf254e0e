/** An operator's command against the databases of a test. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import type { TestDatabases } from "../harness/databases.ts";

/** `program` is a file of scripts/. */
export async function command(
  databases: TestDatabases,
  program: string,
  ...args: string[]
): Promise<{ code: number; out: string; err: string }> {
  const urls = Object.entries(databases.urls).map(([name, url]) => [
    `DATABASE_URL_${name.toUpperCase().replaceAll("-", "_")}`,
    url,
  ]);
  const child = spawn(process.execPath, ["--no-warnings", `scripts/${program}`, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH, NODE_ENV: "test", ...Object.fromEntries(urls) } as NodeJS.ProcessEnv,
  });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { code, out, err };
}
