/**
 * `npm run events -- list | show ID | replay ID... | replay --all | readers | forget SERVICE READER [--json]`: the events
 * of a shop, running or not, that wait for an operator, and who reads its outboxes, whichever way events travel. Exits
 * with 0, with 1 where something asked for is not there or failed again, with 2 where it could not look.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isId } from "../lib/ids.ts";
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";
import { type Letter, lettersOf, nameOf, requestReplay } from "./events/letters.ts";
import { forgetReader, type Reader, readersOf } from "./events/readers.ts";

const USAGE = `usage: npm run events -- COMMAND [--json]
  list               the events that a consumer could not take, or that Kafka refused
  show ID            one of them: the event, the error, its stack
  replay ID... | --all   has the service that could not take or send them try again
  readers            who reads which service's events, up to where, and when it last asked
  forget SERVICE READER  keeps SERVICE's events for READER no more; READER kafka: sends what is kept again
DATA_DIR or DATABASE_URL say which shop, as for npm start.`;

/** A replay that fails takes five tries, 7.5 s; one that nobody takes up by then has no consumer running. */
const REPLAY_MS_MAX = 15_000;
const LOOK_MS = 250;

try {
  process.exitCode = await main();
} catch (err) {
  console.error(`The events could not be looked at: ${describe(err)}`);
  process.exitCode = 2;
}

async function main(): Promise<0 | 1> {
  const { command, names: ids, all, json } = options();
  // Not static: a faulty configuration throws when it is read, and must end in exit code 2.
  const { config } = await import("../config/index.ts");
  const { attach } = await import("./attach.ts");
  const { urls, release } = await attach(config, (line) => console.error(line));
  try {
    if (command === "readers") {
      const readers = await readersOf(urls);
      console.log(json ? JSON.stringify(readers) : listed(readers));
      return 0;
    }
    if (command === "forget") return await forget(urls, ...(ids as [string, string]));
    const letters = await lettersOf(urls, command === "list" || all ? undefined : ids);
    const unknown = ids.filter((id) => !letters.some((letter) => letter.id === id));
    for (const id of unknown) console.error(`there is no dead letter ${id}: npm run events -- list`);
    if (command === "replay") {
      await requestReplay(urls, letters);
      const left = await outcomeOf(letters, () =>
        lettersOf(
          urls,
          letters.map(({ id }) => id),
        ),
      );
      print(json, left, () => replayed(letters, left));
      return unknown.length + left.length > 0 ? 1 : 0;
    }
    print(json, letters, () => (command === "show" ? letters.map(whole) : table(letters)).join("\n"));
    return unknown.length > 0 ? 1 : 0;
  } finally {
    await release();
  }
}

function options() {
  const usage = (fault: string): never => {
    throw new Error(`${fault}\n${USAGE}`);
  };
  try {
    const { values, positionals } = readArguments(USAGE, {
      allowPositionals: true,
      options: { json: { type: "boolean", default: false }, all: { type: "boolean", default: false } },
    });
    const [command = "", ...names] = positionals;
    if (command === "forget" && names.length !== 2)
      throw new Error("forget needs a service and a reader of it");
    if (["readers", "forget"].includes(command)) return { command, names, ...values };
    if (!["list", "show", "replay"].includes(command)) throw new Error(`there is no command "${command}"`);
    const bad = names.find((id) => !isId(id));
    if (bad) throw new Error(`expected the id of a dead letter, got ${bad}`);
    if (command !== "list" && (names.length === 0) !== (values.all && command === "replay"))
      throw new Error(`${command} needs an id`);
    return { command, names, ...values };
  } catch (fault) {
    return usage((fault as Error).message);
  }
}

async function forget(urls: Parameters<typeof readersOf>[0], teller: string, reader: string): Promise<0 | 1> {
  if (await forgetReader(urls, teller, reader)) {
    console.log(`${reader} is no reader of ${teller}'s events any more`);
    return 0;
  }
  console.error(`${teller}'s events have no reader ${reader}: npm run events -- readers`);
  return 1;
}

/** Those that are still there when all have been tried, or nobody tries them. */
async function outcomeOf(letters: readonly Letter[], look: () => Promise<Letter[]>): Promise<Letter[]> {
  for (const givesUpAt = performance.now() + REPLAY_MS_MAX; letters.length > 0; ) {
    const left = await look();
    if (!left.some(({ replaying }) => replaying) || performance.now() > givesUpAt) return left;
    await sleep(LOOK_MS);
  }
  return [];
}

function print(json: boolean, letters: readonly Letter[], text: () => string): void {
  console.log(json ? JSON.stringify(letters) : text());
}

function listed(readers: readonly Reader[]): string {
  if (readers.length === 0) return "no readers";
  return readers
    .map(
      ({ teller, reader, position, behind, askedAt }) =>
        `${teller}  ${reader}  at ${position}, ${behind} behind, last asked ${askedAt}`,
    )
    .join("\n");
}

function table(letters: readonly Letter[]): string[] {
  if (letters.length === 0) return ["no dead letters"];
  return letters.map(
    (letter) =>
      `${letter.id}  ${letter.failedAt}  ${letter.service}  ${nameOf(letter)}  ${letter.attempts} tries${letter.replaying ? ", replaying" : ""}: ${letter.error}`,
  );
}

function whole(letter: Letter): string {
  const { id, service, keeper, topic, partition, position, attempts, failedAt, body, error, stack } = letter;
  return [
    `${id}${letter.replaying ? " (to be tried again)" : ""}`,
    `${keeper.padEnd(8)}  ${service}`,
    `came as   ${topic}, partition ${partition}, position ${position}`,
    `failed    ${failedAt}, after ${attempts} tries`,
    `event     ${body}`,
    `error     ${stack ?? error}`,
  ].join("\n");
}

function replayed(letters: readonly Letter[], left: readonly Letter[]): string {
  const waiting = left.filter(({ replaying }) => replaying);
  const failed = left.filter(({ replaying }) => !replaying);
  return [
    `${letters.length - left.length} taken`,
    ...failed.map(
      ({ id, error, attempts }) => `${id} failed again, after ${attempts} tries in all: ${error}`,
    ),
    ...(waiting.length > 0
      ? [
          `${waiting.length} wait: no ${[...new Set(waiting.map(({ service }) => service))].join(", ")} runs; it tries them when it starts`,
        ]
      : []),
  ].join("\n");
}
