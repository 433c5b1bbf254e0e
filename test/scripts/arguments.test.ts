/** Programs that are told what they do not know: none of them may run. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { expect, it } from "@jest/globals";

const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
const PROGRAMS = Object.entries(scripts).flatMap(([name, line]) => {
  const [, file] = /^exec node (\S+\.ts)$/.exec(line) ?? [];
  return file ? [[name, file] as const] : [];
});

const run = (file: string, option: string) =>
  promisify(execFile)(process.execPath, ["--no-warnings", file, option], {
    env: { PATH: process.env.PATH },
  }).then(
    ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
    (err: { code: number; stdout: string; stderr: string }) => err,
  );

it.each(PROGRAMS)(
  "npm run %s answers --help, and refuses an option that it does not have",
  async (_name, file) => {
    const [help, refusal] = await Promise.all([run(file, "--help"), run(file, "--rpel")]);
    expect(help).toMatchObject({ code: 0, stdout: expect.stringMatching(/^usage: npm /) });
    expect(refusal).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringMatching(/^Unknown option '--rpel'[\s\S]*\nusage: npm /),
    });
  },
  30_000,
);
