/**
 * `npm start [-- --repl]`: the whole shop in one process, with a PostgreSQL of its own where no DATABASE_URL is set, and
 * with the operators' console where asked for; `npm run dev` adds hot reload (`--hot`). A failed start prints one message
 * and leaves nothing running; SIGINT, SIGTERM and the end of the terminal drain and stop; a second signal exits.
 */
import { constants } from "node:os";
import type { StopSignal } from "../lib/stop.ts";

// Not static: on an older Node their own imports would fail first, with a message that helps nobody.
refuseOldNode();
const { readArguments } = await import("./arguments.ts");
const USAGE = `usage: npm start [-- --repl] [--hot]
  --repl  with the operators' console
  --hot   replaces services while they run, when their files are saved
The rest is said by variables: .env.example lists them.`;
const { repl: hasConsole, hot: isHot } = readArguments(USAGE, {
  options: { repl: { type: "boolean" }, hot: { type: "boolean" } },
}).values;
// What hot reload replaces would be kept in every version.
if (!isHot) (await import("./compile-cache.ts")).keepCompiled();
const { banner } = await import("./banner.ts");
const { describe } = await import("./describe.ts");
const { left, outliveTerminal, STOP_MS_MAX, STOP_SIGNALS, stopCompilers } = await import("../lib/stop.ts");

// npm passes a terminal's Ctrl-C on to us, which the terminal has sent already.
const ECHO_MS = 1_000;

const undo: (() => Promise<void>)[] = [];
let stopping: { since: number; done: Promise<boolean> } | undefined;
let port: number | undefined;
let giveUp: () => void = () => undefined;

for (const signal of STOP_SIGNALS) process.on(signal, onSignal);
outliveTerminal();

const started = start();
started.catch(fail);

async function start(): Promise<void> {
  // First: it knows of what is loaded after it.
  if (isHot) await import("./dev/module-graph.ts");
  const { config, DATABASES } = await import("../config/index.ts");
  port = config.port;
  const { keepPostgres } = await import("./postgres.keeper.ts");
  const { createShop } = await import("./shop.ts");
  const { keepAdminPassword } = await import("./admin-password.ts");
  const embedded = DATABASES.some(
    (name) => config.services.includes(name) && !config.databaseUrl && !config.databaseUrls[name],
  );
  if (embedded) {
    const postgres = await keepPostgres({ dataDir: config.dataDir, log: say });
    undo.push(() => postgres.stop());
    say(`PostgreSQL ${postgres.version} ${postgres.adopted ? "was running" : "runs"} in ${config.dataDir}`);
  }
  const broker = await createShop();
  // Whoever stopped meanwhile had nothing yet to give up.
  if (stopping) return;
  undo.push(() => broker.stop());
  giveUp = () => broker.giveUpConnecting();
  await broker.start();
  if (stopping) return;
  broker.onFatal = (err) => void fail(err);
  // The user service keeps a password that it made until it is asked once; then it exists nowhere but here.
  const user = broker.getLocalService("user");
  const made = user ? await broker.call<string | null>("user.firstAdminPassword") : null;
  // Where the data is ours too, so is the password file beside it: npm run replay logs in with it.
  if (made !== null && embedded)
    await keepAdminPassword(config.dataDir, { email: config.adminEmail, password: made });
  if (config.environment !== "production") say(await banner(broker, config, made));
  else if (made !== null) say(`admin ${config.adminEmail}, password ${made} (made now and shown this once)`);
  if (isHot) {
    const { hotReload } = await import("./dev/hot-reload.ts");
    undo.push(await hotReload(broker, say));
  }
  if (!hasConsole) return;
  const { openConsole } = await import("./repl/console.ts");
  openConsole(broker, async () => {
    // Whoever stops already ends the process too, when all is stopped.
    if (stopping) return new Promise<never>(() => undefined);
    process.exit((await stop()) ? 0 : 1);
  });
}

function onSignal(signal: StopSignal): void {
  if (stopping) {
    // Closing the terminal is not impatience.
    if (signal !== "SIGHUP" && performance.now() - stopping.since > ECHO_MS)
      process.exit(128 + constants.signals[signal]);
    return;
  }
  say(`\n${signal}: finishing what is in flight ... (once more to exit at once)`);
  void stop().then((clean) => process.exit(clean ? 0 : 1));
}

async function fail(err: unknown): Promise<void> {
  // Whoever stops already ends the process too, when all is stopped.
  if (stopping) return;
  await stop();
  console.error(`\nThe shop cannot go on: ${describe(err, port)}`);
  process.exit(1);
}

/** Undoes the start, once, whoever asks. */
function stop(): Promise<boolean> {
  const since = performance.now();
  stopping ??= { since, done: undoStart(since + STOP_MS_MAX) };
  return stopping.done;
}

/** Backwards. The first step, broker.stop(), makes readiness fail before it waits for anything. */
async function undoStart(endsAt: number): Promise<boolean> {
  stopCompilers();
  giveUp();
  // A start that is half-way would otherwise go on behind our back. How it ends does not matter any more.
  let clean = await inTime(
    started.catch(() => undefined),
    "the start",
    endsAt,
  );
  for (const step of undo.splice(0).reverse())
    clean = (await inTime(step(), "a part of the shop", endsAt)) && clean;
  return clean && left.length === 0;
}

/** One end for all of it: whoever waits for this process counts from the signal. */
async function inTime(work: Promise<void>, what: string, endsAt: number): Promise<boolean> {
  const late = Promise.withResolvers<never>();
  const leftMs = endsAt - performance.now();
  const timer = setTimeout(() => late.reject(new Error("its time was over")), leftMs);
  try {
    await Promise.race([work, late.promise]);
    return true;
  } catch (err) {
    console.error(`${what} did not stop: ${describe(err)}`);
    return false;
  } finally {
    clearTimeout(timer);
  }
}

function say(line: string): void {
  console.log(line);
}

function refuseOldNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return;
  console.error(
    `Node ${process.versions.node} is too old: the shop needs 22.18 or later; npm start brings its own.`,
  );
  process.exit(1);
}
