/**
 * `npm run secrets [-- DIRECTORY]`: makes the secrets that docker compose and the local overlay need, once. Values that exist in .env
 * are kept, as are its other lines, so running it again changes nothing; nothing is printed but where they lie.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";
import { readArguments } from "./arguments.ts";
import { secretFiles, toText } from "./secrets/secrets.ts";

const { positionals } = readArguments("usage: npm run secrets [-- DIRECTORY]", { allowPositionals: true });
const root = positionals[0] ?? fileURLToPath(new URL("../", import.meta.url));
const contentOf = (file: string): string => {
  const target = path.join(root, file);
  return existsSync(target) ? readFileSync(target, "utf8") : "";
};

const known = Object.fromEntries(
  Object.entries(parseEnv(contentOf(".env"))).filter(([, value]) => value !== undefined && value !== ""),
) as Record<string, string>;

for (const [file, variables] of secretFiles(known)) {
  const missing = Object.fromEntries(Object.entries(variables).filter(([name]) => !(name in known)));
  const before = contentOf(file);
  const text =
    file === ".env"
      ? `${before}${before === "" || before.endsWith("\n") ? "" : "\n"}${toText(missing)}`
      : toText(variables);
  const target = path.join(root, file);
  mkdirSync(path.dirname(target), { recursive: true });
  if (text !== before) writeFileSync(target, text, { mode: 0o600 });
  chmodSync(target, 0o600);
  console.log(`${file}: ${Object.keys(variables).join(", ")}`);
}
