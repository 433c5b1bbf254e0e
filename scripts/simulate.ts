/**
 * `npm run simulate`: the commit protocol under simulated faults. Runs the real code of managers, participants and
 * order placing over a network, databases and clocks that go wrong as the seed says, and checks every durable step.
 * Exits with 1 on a violation, and on a mutant that survives.
 */
import { writeFileSync } from "node:fs";
import { MUTANTS } from "../simulation/mutants.ts";
import { mutantNamed } from "../simulation/mutate.ts";
import {
  MUTANT_SEEDS_MAX,
  type MutantResult,
  runMutants,
  runSeeds,
  shrunkHistoryOf,
  traceOf,
} from "../simulation/pool.ts";
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";

const USAGE = `usage: npm run simulate -- [options]
  --seeds N      how many seeds; 1,000 unless given
  --seed S       the first of them; 1 unless given
  --mutant NAME  breaks the protocol in one way, which must be caught within ${MUTANT_SEEDS_MAX} seeds; or "all"
  --trace FILE   writes what became durable in seed S as JSON lines (simulation/trace.ts)
  --json         nothing on stdout but lines of JSON
mutants:
${MUTANTS.map(({ name, about }) => `  ${name.padEnd(34)} ${about}`).join("\n")}`;

try {
  process.exitCode = await main();
} catch (err) {
  console.error(describe(err));
  process.exitCode = 1;
}

async function main(): Promise<0 | 1> {
  const { values } = parse();
  const json = values.json ?? false;
  const from = wholeNumber("seed", values.seed ?? "1", 0);
  if (values.mutant !== undefined) return breakIt(values.mutant, from, json);
  if (values.trace !== undefined) {
    writeFileSync(values.trace, `${await traceOf(from)}\n`);
    return 0;
  }
  return simulate(from, wholeNumber("seeds", values.seeds ?? "1000", 1), json);
}

async function simulate(from: number, count: number, json: boolean): Promise<0 | 1> {
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1_000;
  let toldAt = 0;
  const { first, ...summary } = await runSeeds(from, count, (seeds) => {
    if (json || seconds() < toldAt + 5) return;
    toldAt = seconds();
    process.stderr.write(`${seeds} of ${count} seeds\n`);
  });
  const history = first && (await shrunkHistoryOf(first.seed));
  if (json) console.log(JSON.stringify({ ...summary, ...(first && { seed: first.seed, history }) }));
  else {
    console.log(
      `${summary.seeds} seeds from ${from}, ${summary.steps} steps, ${summary.crashes} crashes, ` +
        `at most ${summary.inDoubtMax} votes in doubt, ${Math.round(summary.seeds / seconds())} seeds per second`,
    );
    console.log(first ? `VIOLATED by seed ${first.seed}: ${first.what}\n\n${history}` : "no violation");
  }
  return first ? 1 : 0;
}

async function breakIt(name: string, from: number, json: boolean): Promise<0 | 1> {
  const names = name === "all" ? MUTANTS.map((mutant) => mutant.name) : [mutantNamed(name).name];
  const tell = ({ mutant, caught, violation }: MutantResult) => {
    if (json) console.log(JSON.stringify({ mutant, caught, seed: violation?.seed ?? null }));
    else if (!violation) console.log(`${mutant} SURVIVED ${MUTANT_SEEDS_MAX} seeds from ${from}`);
    else {
      console.log(`${mutant} caught by seed ${violation.seed}: ${violation.what}`);
    }
  };
  const results = await runMutants(names, from, tell);
  const only = results.length === 1 ? results[0] : undefined;
  if (!json && only?.violation) console.log(`\n${await shrunkHistoryOf(only.violation.seed, only.mutant)}`);
  return results.every(({ caught }) => caught) ? 0 : 1;
}

function parse() {
  return readArguments(USAGE, {
    options: {
      seeds: { type: "string" },
      seed: { type: "string" },
      mutant: { type: "string" },
      trace: { type: "string" },
      json: { type: "boolean" },
    },
  });
}

function wholeNumber(option: string, text: string, min: number): number {
  if (/^\d+$/.test(text) && Number(text) >= min && Number.isSafeInteger(Number(text))) return Number(text);
  throw new Error(`--${option} ${text}: expected a whole number of at least ${min}`);
}
