/**
 * `npm run replay -- FILE.csv`: an order book through the public REST API. Exits with 0 when every invoice has its
 * final answer, with 1 when one has not or the replay could not be done.
 */
import { outliveTerminal, STOP_SIGNALS } from "../lib/stop.ts";
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";
import { AcknowledgedFile } from "./replay/acknowledged.ts";
import { readOrderBook } from "./replay/order-book.ts";
import { progressOn } from "./replay/progress.ts";
import { replay } from "./replay/replay.ts";
import { replayText } from "./replay/report.ts";

const USAGE = `usage: npm run replay -- FILE.csv [options]
  --stock-factor N     stock of each product: units sold in the file times N (1)
  --limit N            the first N invoices only
  --concurrency N      requests at once (32)
  --url URL            the shop (http://localhost:PORT; where nothing listens, the shop is started for the replay)
  --acknowledged FILE  appends the id of every order answered 201, one a line
  --json               the result as one line of JSON
ADMIN_EMAIL and ADMIN_PASSWORD name the admin; DATA_DIR or DATABASE_URL say which shop to start.`;

outliveTerminal();
const interrupted = new AbortController();
for (const signal of STOP_SIGNALS)
  process.once(signal, () => interrupted.abort(new Error(`${signal}: the replay was broken off`)));

try {
  process.exitCode = await main();
} catch (err) {
  console.error(`The replay failed: ${describe(err)}`);
  process.exitCode = 1;
}

async function main(): Promise<0 | 1> {
  const { file, url, json, ...options } = readOptions();
  // Not static: a faulty configuration throws when it is read, and is told like every other failure.
  const { config } = await import("../config/index.ts");
  const { findTarget } = await import("./replay/target.ts");
  const say = (line: string) => console.error(line);
  const book = await readOrderBook(file);
  say(`${file}: ${book.rows} rows, ${book.invoices.length} invoices, ${book.products.size} stock codes`);
  const acknowledged = options.acknowledged ? await AcknowledgedFile.open(options.acknowledged) : undefined;
  const target = await findTarget(url, config, say);
  try {
    const report = await replay(book, {
      ...options,
      url: target.url,
      admin: target.admin,
      acknowledged,
      progress: progressOn(process.stderr),
      signal: interrupted.signal,
      say,
    });
    console.log(json ? JSON.stringify(report) : replayText(report));
    return report.complete ? 0 : 1;
  } finally {
    await target.stop();
    await acknowledged?.close();
  }
}

function readOptions() {
  try {
    const { values, positionals } = readArguments(USAGE, {
      allowPositionals: true,
      options: {
        "stock-factor": { type: "string", default: "1" },
        limit: { type: "string" },
        concurrency: { type: "string", default: "32" },
        url: { type: "string" },
        acknowledged: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const [file, ...rest] = positionals;
    if (file === undefined || rest.length > 0) throw new Error("expected one file");
    return {
      file,
      url: values.url,
      json: values.json,
      acknowledged: values.acknowledged,
      stockFactor: number("--stock-factor", values["stock-factor"], 0),
      concurrency: whole("--concurrency", values.concurrency),
      ...(values.limit !== undefined && { limit: whole("--limit", values.limit) }),
    };
  } catch (fault) {
    throw new Error(`${(fault as Error).message}\n${USAGE}`);
  }
}

function number(name: string, text: string, min: number): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < min)
    throw new Error(`${name} ${text}: expected a number of at least ${min}`);
  return value;
}

function whole(name: string, text: string): number {
  const value = number(name, text, 1);
  if (!Number.isInteger(value)) throw new Error(`${name} ${text}: expected a whole number`);
  return value;
}
