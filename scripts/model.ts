/**
 * `npm run model [-- --configuration NAME] [--mutant NAME|all] [--trace FILE] [--json]`: verifies the model of the
 * commit protocol under docs/model/, or that its mutants fail, or that the model accepts a trace of the code. Exits
 * with 0 where everything is as it must be, 1 where something is violated, refused or survives, 2 where it could not
 * check (spin or gcc is missing, or the arguments are wrong).
 */
import { readFile } from "node:fs/promises";
import { readArguments } from "./arguments.ts";
import {
  CONFIGURATIONS,
  type Configuration,
  defineOf,
  MUTANTS,
  MUTANTS_RUN_IN,
  propertiesOf,
} from "./model/configurations.ts";
import { parseTrace, toPromela } from "./model/promela.ts";
import { missing, replay, verify } from "./model/spin.ts";

const USAGE = `usage: npm run model -- [--configuration NAME] [--mutant NAME|all] [--trace FILE] [--json]
  configurations: ${CONFIGURATIONS.map(({ name }) => name).join(", ")}
  mutants: ${MUTANTS.join(", ")}`;
/** Two cores, and two of the larger state spaces fit into 2 GB. */
const AT_ONCE = 2;

interface Line {
  ok: boolean;
  text: string;
  history: string[];
  record: object;
}

async function main(): Promise<number> {
  const { configuration, mutant, trace, json } = options();
  const lacking = await missing(trace === undefined ? ["spin", "gcc"] : ["spin"]);
  if (lacking.length > 0)
    throw new Error(
      `${lacking.join(" and ")} not found. On Debian and Ubuntu: sudo apt-get install spin gcc. On macOS: brew install spin.`,
    );
  const works =
    trace !== undefined
      ? [() => replayed(trace)]
      : mutant !== undefined
        ? chosen(MUTANTS, mutant, "mutant").map((name) => () => mutated(name))
        : CONFIGURATIONS.filter(({ name }) => [undefined, "all", name].includes(configuration)).map(
            (each) => () => verified(each),
          );
  if (works.length === 0) throw new Error(`there is no configuration ${configuration}\n${USAGE}`);

  let failed = false;
  const waiting = works.values();
  const worker = async () => {
    for (const work of waiting) {
      const { ok, text, history, record } = await work();
      if (!ok) failed = true;
      console.log(json ? JSON.stringify(record) : `${ok ? "ok  " : "FAIL"}  ${text}`);
      if (!ok && !json) for (const step of history) console.log(`        ${step}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return failed ? 1 : 0;
}

async function verified(configuration: Configuration): Promise<Line> {
  const { name, about, defines, isLiveness } = configuration;
  const result = await verify(defines, { isLiveness, optimize: true });
  const properties = propertiesOf(configuration);
  const what = result.verified ? properties.join(", ") : `violates ${result.violated}`;
  const { states, seconds } = result;
  return {
    ok: result.verified,
    text: `${name} (${about}): ${count(states)} states, ${seconds} s: ${what}`,
    history: result.history,
    record: {
      configuration: name,
      verified: result.verified,
      violated: result.violated,
      states,
      seconds,
      properties,
    },
  };
}

/** A mutant that the model verifies has survived, and then the model is too weak. */
async function mutated(mutant: string): Promise<Line> {
  const { defines, isLiveness } = CONFIGURATIONS.find(({ name }) => name === MUTANTS_RUN_IN) as Configuration;
  const {
    verified: survives,
    violated,
    states,
    seconds,
  } = await verify([...defines, defineOf(mutant)], { isLiveness, optimize: false });
  return {
    ok: !survives,
    text: `${mutant}: ${survives ? "survives" : `violates ${violated}`}, ${count(states)} states, ${seconds} s`,
    history: [],
    record: { mutant, caught: !survives, violated, states, seconds },
  };
}

async function replayed(file: string): Promise<Line> {
  const { text, lines } = toPromela(parseTrace(await readFile(file, "utf8")));
  const { accepted, refusedAt, violated, history } = await replay(text);
  const line = refusedAt === undefined ? undefined : lines[refusedAt - 1];
  const why = violated === undefined ? "the model refuses it" : `it violates ${violated}`;
  return {
    ok: accepted,
    text: accepted ? `${file}: all ${lines.length} steps accepted` : `${file}, line ${line}: ${why}`,
    history: history.slice(-20),
    record: { trace: file, accepted, steps: lines.length, line, violated },
  };
}

function chosen(names: readonly string[], name: string, what: string): readonly string[] {
  if (name === "all") return names;
  if (names.includes(name)) return [name];
  throw new Error(`there is no ${what} ${name}\n${USAGE}`);
}

const count = (states: number): string => states.toLocaleString("en");

function options() {
  const text = { type: "string" } as const;
  return readArguments(USAGE, {
    options: { configuration: text, mutant: text, trace: text, json: { type: "boolean", default: false } },
  }).values;
}

process.exitCode = await main().catch((fault: Error) => {
  console.error(fault.message);
  return 2;
});
