/** What a person reads where a start fails: of which variable, and what to do. */
import { execFile } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { expect, it } from "@jest/globals";
import { DIRECTORY_VARIABLE } from "../harness/databases.ts";

/** What `npm start` says before it ends with 1. */
async function failureOf(env: Record<string, string>): Promise<string> {
  const given = { PATH: process.env.PATH, NODE_ENV: "test", PORT: "0", GRPC_PORT: "0", ...env };
  const failed = await promisify(execFile)(process.execPath, ["scripts/start.ts"], { env: given }).catch(
    (err: { code: number; stderr: string }) => err,
  );
  expect(failed).toMatchObject({ code: 1 });
  return failed.stderr;
}

it("names the service, the server and the variable of a database that is not there, and no password", async () => {
  const message = await failureOf({ DATABASE_URL: "postgres://ann:secret@127.0.0.1:1", SERVICES: "" });
  expect(message).toMatch(
    /the database of \w[\w-]* cannot be used: .*shop_\w+ at 127\.0\.0\.1:1, by DATABASE_URL;/,
  );
  expect(message).toContain("because: connect ECONNREFUSED 127.0.0.1:1");
  expect(message).not.toContain("secret");
}, 30_000);

it("names DATA_DIR where that is a file", async () => {
  const directory = await mkdtemp(path.join(process.env[DIRECTORY_VARIABLE] as string, "describe-"));
  const file = path.join(directory, "data");
  await writeFile(file, "");
  expect(await failureOf({ DATA_DIR: file })).toContain(`DATA_DIR=${file}: name a directory`);
}, 30_000);
