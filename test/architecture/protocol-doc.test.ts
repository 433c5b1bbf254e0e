/** docs/protocol.md stays true: every file it links exists, and every test it names stands in the file it links. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { CONFIGURATIONS, propertiesOf } from "../../scripts/model/configurations.ts";

const DOCS = path.resolve(import.meta.dirname, "../../docs");
const doc = readFileSync(path.join(DOCS, "protocol.md"), "utf8");
const links = [...doc.matchAll(/\[([^\]]+)\]\(([^)#]+)(?:#[^)]*)?\)/g)].map(([, text = "", target = ""]) => ({
  text,
  file: path.resolve(DOCS, target),
}));
const tests = links.filter(
  ({ text, file }) => file.includes(`${path.sep}test${path.sep}`) && !text.endsWith(".ts"),
);

test("every link leads to a file", () => {
  expect(links.length).toBeGreaterThan(50);
  expect(links.filter(({ file }) => !existsSync(file))).toEqual([]);
});

test("every test that is named stands in its file, as a title", () => {
  expect(tests.length).toBeGreaterThan(40);
  const lost = tests.filter(({ text, file }) => {
    const quoted = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    // A title that begins with an interpolated number is named without it.
    return !new RegExp(`["\`](?:\\$\\{\\w+\\} )?${quoted}["\`]`).test(readFileSync(file, "utf8"));
  });
  expect(lost).toEqual([]);
});

test("every property that the model checks is explained", () => {
  for (const property of new Set(CONFIGURATIONS.flatMap(propertiesOf)))
    expect(doc).toContain(`\`${property}\``);
});
