/**
 * `npm run audit [-- --json] [--acknowledged FILE]`: the invariants I1 to I5 across all databases, of a running shop
 * or a stopped one. Exits with 0 where they hold, 1 where one is violated, 2 where it could not check.
 */
import { readFile } from "node:fs/promises";
import { readArguments } from "./arguments.ts";
import { auditJson, auditTable } from "./audit/report.ts";
import { describe } from "./describe.ts";

const USAGE = `usage: npm run audit [-- options]
  --json               one line of JSON instead of a table
  --acknowledged FILE  ids of orders that were answered 201, one a line, or JSON lines with "id" or "orderId"
DATA_DIR or DATABASE_URL say which shop, as for npm start.`;

try {
  process.exitCode = await main();
} catch (err) {
  console.error(`The audit could not check: ${describe(err)}`);
  process.exitCode = 2;
}

async function main(): Promise<0 | 1> {
  const { json, acknowledged } = readArguments(USAGE, {
    options: { json: { type: "boolean", default: false }, acknowledged: { type: "string" } },
  }).values;
  // Not static: a faulty configuration throws when it is read, and must end in exit code 2.
  const { config } = await import("../config/index.ts");
  const { attach } = await import("./attach.ts");
  const { auditAsConfigured } = await import("./audit/settled.ts");
  // Before the snapshots: a running client goes on writing to it.
  const ids = acknowledged === undefined ? undefined : acknowledgedIds(await readFile(acknowledged, "utf8"));
  const { urls, release } = await attach(config, (line) => console.error(line));
  try {
    const report = await auditAsConfigured(config, urls, ids && { acknowledged: ids });
    console.log(json ? auditJson(report) : auditTable(report));
    return report.ok ? 0 : 1;
  } finally {
    await release();
  }
}

/** Throws at a line that holds no id: a file that is not understood proves nothing. */
function acknowledgedIds(text: string): string[] {
  const lines = text.split("\n");
  // A writer that was killed leaves its last line without an end; nobody was told of an id that is cut off.
  const unended = lines.length;
  return lines.flatMap((line, i) => {
    const entry = line.trim();
    if (entry === "") return [];
    const id = entry.startsWith("{") ? idOf(entry) : entry;
    if (typeof id === "string" && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id))
      return id.toLowerCase();
    if (i + 1 === unended) return [];
    throw new Error(`--acknowledged, line ${i + 1}: expected an order id, got ${entry.slice(0, 80)}`);
  });
}

/** Undefined for what is not JSON. */
function idOf(line: string): unknown {
  try {
    const { id, orderId } = JSON.parse(line) as { id?: unknown; orderId?: unknown };
    return orderId ?? id;
  } catch {
    return undefined; // reported by the caller, with its line
  }
}
