/**
 * `npm run drill`: breaks a shop of its own in one chosen way and checks that the promise for that case holds. Each
 * drill starts its servers in a throw-away directory on free ports, and ends only what it started. Progress goes to
 * stderr; the last line on stdout is one JSON object with the figures and `ok`, and the exit code (0, 1) says the same.
 *
 *   npm run drill                                    lists the drills
 *   npm run drill -- NAME [--times N] [--seconds N] [--json] [...]
 */
import { outliveTerminal, STOP_SIGNALS } from "../lib/stop.ts";
import { readArguments } from "../scripts/arguments.ts";
import { describe } from "../scripts/describe.ts";
import type { Drill, DrillOptions, Figures, OptionName } from "./drills/drill.ts";
import { duplicates } from "./drills/duplicates.ts";
import { eventsChaos } from "./drills/events-chaos.ts";
import { eventsDown } from "./drills/events-down.ts";
import { firstOrder } from "./drills/first-order.ts";
import { killNode } from "./drills/kill-node.ts";
import { killReplay } from "./drills/kill-replay.ts";
import { natsOutage } from "./drills/nats-outage.ts";
import { overload } from "./drills/overload.ts";
import { partition } from "./drills/partition.ts";
import { retryStorm } from "./drills/retry-storm.ts";
import { rollingRestart } from "./drills/rolling-restart.ts";
import { sameKey } from "./drills/same-key.ts";
import { scaleDown } from "./drills/scale-down.ts";
import { sellOut } from "./drills/sell-out.ts";
import { Site } from "./drills/site.ts";
import { slowCard } from "./drills/slow-card.ts";
import { slowNode } from "./drills/slow-node.ts";

const DRILLS: readonly Drill[] = [
  killReplay,
  slowCard,
  sellOut,
  sameKey,
  firstOrder,
  scaleDown,
  rollingRestart,
  killNode,
  slowNode,
  retryStorm,
  overload,
  partition,
  natsOutage,
  eventsChaos,
  duplicates,
  eventsDown,
];

const OPTIONS: Record<OptionName, string> = {
  times: "N          rounds, or kills",
  seconds: "N        how long to measure with, and again without, what disturbs",
  seed: "N           of everything random; printed, to repeat a run",
  orders: "N         orders that are confirmed, at least",
  invoices: "N       invoices of one generated order book",
  file: "CSV         an order book to use instead, in the format of npm run replay",
  concurrency: "N    requests of the replay at once",
  postgres: "        kills PostgreSQL too (SIGQUIT: it stops at once and recovers from its log)",
};

outliveTerminal();
try {
  // What was broken off may go on behind it, and wait for something.
  process.exit(await main());
} catch (err) {
  console.error(describe(err));
  process.exitCode = 1;
}

async function main(): Promise<0 | 1> {
  const { drill, options, json } = readCommand();
  if (!drill) {
    console.log(listing());
    return 0;
  }
  const startedAt = performance.now();
  const { ok, ...figures } = await runDrill(drill, options);
  const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
  if (!json) console.log(table({ ...figures, seconds }));
  console.log(JSON.stringify({ drill: drill.name, ...figures, seconds, ok }));
  return ok ? 0 : 1;
}

/** Cleans up whatever happens. A failure is a figure too: programs read one line either way. */
async function runDrill(drill: Drill, options: DrillOptions): Promise<Figures> {
  const site = await Site.open(drill.name);
  const interrupt = (signal: string) => site.interrupt(new Error(`${signal}: the drill was broken off`));
  for (const signal of STOP_SIGNALS) process.on(signal, interrupt);
  let figures: Figures;
  try {
    figures = await Promise.race([drill.run(site, options), site.interrupted]);
  } catch (err) {
    site.say(`failed: ${describe(err)}`);
    figures = { ok: false, error: (err as Error).message };
  }
  try {
    if (!figures.ok) site.say(`what everybody said is kept in ${await site.keepLogs()}`);
    await site.close();
  } catch (err) {
    site.say(`the clean-up failed: ${describe(err)}`);
    figures = { error: (err as Error).message, ...figures, ok: false };
  }
  for (const signal of STOP_SIGNALS) process.off(signal, interrupt);
  return figures;
}

function readCommand(): { drill?: Drill; options: DrillOptions; json: boolean } {
  const { values, positionals } = parse();
  const [name, ...rest] = positionals;
  if (name === undefined) return { options: {}, json: false };
  const drill = DRILLS.find((each) => each.name === name);
  if (!drill || rest.length > 0)
    throw new Error(
      drill ? `one drill at a time, not ${positionals.join(" ")}` : `there is no drill ${name}\n${listing()}`,
    );
  const { json, file, postgres, ...numbers } = values;
  for (const given of Object.keys(values))
    if (given !== "json" && !drill.takes.includes(given as OptionName))
      throw new Error(
        `${drill.name} takes no --${given}, only ${[...drill.takes, "json"].map((each) => `--${each}`).join(", ")}`,
      );
  const whole = Object.entries(numbers).map(([option, text]) => [option, wholeNumber(option, text)]);
  return {
    drill,
    json: json ?? false,
    options: { ...Object.fromEntries(whole), ...(file && { file }), ...(postgres && { postgres }) },
  };
}

function parse() {
  return readArguments(listing(), {
    allowPositionals: true,
    options: {
      times: { type: "string" },
      seconds: { type: "string" },
      seed: { type: "string" },
      orders: { type: "string" },
      invoices: { type: "string" },
      file: { type: "string" },
      concurrency: { type: "string" },
      postgres: { type: "boolean" },
      json: { type: "boolean" },
    },
  });
}

function wholeNumber(option: string, text: string): number {
  const min = option === "seed" ? 0 : 1;
  if (/^\d+$/.test(text) && Number(text) >= min && Number.isSafeInteger(Number(text))) return Number(text);
  throw new Error(`--${option} ${text}: expected a whole number of at least ${min}`);
}

function listing(): string {
  const takers = (option: OptionName) =>
    DRILLS.filter((drill) => drill.takes.includes(option)).map(({ name }) => name);
  return [
    "usage: npm run drill -- NAME [options]",
    ...DRILLS.map(({ name, about }) => `  ${name.padEnd(15)} ${about}`),
    "options:",
    ...Object.entries(OPTIONS).map(
      ([option, about]) => `  --${option} ${about} (${takers(option as OptionName).join(", ")})`,
    ),
    "  --json           nothing on stdout but the line of JSON",
  ].join("\n");
}

function table(figures: object): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name.padEnd(22)} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join("\n");
}
