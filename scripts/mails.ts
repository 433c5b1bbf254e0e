/**
 * `npm run mails -- list | send ID... | send --all [--json]`: the mails of a shop, running or not, that the mail server
 * refused or did not take for days. Exits with 0, with 1 where something asked for is not there or failed again, with 2
 * where it could not look.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isId } from "../lib/ids.ts";
import { readArguments } from "./arguments.ts";
import { describe } from "./describe.ts";
import { type FailedMail, failedMails, type Outcome, outcomesOf, sendAgain } from "./mails/failed.ts";

const USAGE = `usage: npm run mails -- COMMAND [--json]
  list                 the mails that cannot be sent, and why
  send ID... | --all   has notification send them again, with the Message-ID they had
DATA_DIR or DATABASE_URL say which shop, as for npm start.`;

/** Longer than a mail server that is there takes; of what waits then the reason is told. */
const SEND_MS_MAX = 15_000;
const LOOK_MS = 250;

try {
  process.exitCode = await main();
} catch (err) {
  console.error(`The mails could not be looked at: ${describe(err)}`);
  process.exitCode = 2;
}

async function main(): Promise<0 | 1> {
  const { command, ids: asked, all, json } = options();
  // Not static: a faulty configuration throws when it is read, and must end in exit code 2.
  const { config } = await import("../config/index.ts");
  const { attach } = await import("./attach.ts");
  const { urls, release } = await attach(config, (line) => console.error(line));
  try {
    const failed = await failedMails(urls, all || command === "list" ? undefined : asked);
    if (command === "list") {
      print(json, failed, table);
      return 0;
    }
    const unknown = asked.filter((id) => !failed.some((mail) => mail.id === id));
    for (const id of unknown) console.error(`there is no failed mail ${id}: npm run mails -- list`);
    const ids = await sendAgain(
      urls,
      failed.map(({ id }) => id),
    );
    const outcomes = await settled(() => outcomesOf(urls, ids));
    print(json, outcomes, report);
    return unknown.length + outcomes.filter(({ state }) => state === "failed").length > 0 ? 1 : 0;
  } finally {
    await release();
  }
}

function options() {
  try {
    const { values, positionals } = readArguments(USAGE, {
      allowPositionals: true,
      options: { json: { type: "boolean", default: false }, all: { type: "boolean", default: false } },
    });
    const [command = "", ...ids] = positionals;
    if (!["list", "send"].includes(command)) throw new Error(`there is no command "${command}"`);
    const bad = ids.find((id) => !isId(id));
    if (bad) throw new Error(`expected the id of a mail, got ${bad}`);
    if (command === "list" ? values.all || ids.length > 0 : values.all === ids.length > 0)
      throw new Error(command === "list" ? "list takes no more" : "send needs ids, or --all");
    return { command, ids, ...values };
  } catch (fault) {
    throw new Error(`${(fault as Error).message}\n${USAGE}`);
  }
}

/** What became of them when none waits any more, or its time is over. */
async function settled(look: () => Promise<Outcome[]>): Promise<Outcome[]> {
  for (const givesUpAt = performance.now() + SEND_MS_MAX; ; await sleep(LOOK_MS)) {
    const outcomes = await look();
    if (!outcomes.some(({ state }) => state === "waits") || performance.now() > givesUpAt) return outcomes;
  }
}

function print<Row>(json: boolean, rows: readonly Row[], text: (rows: readonly Row[]) => string[]): void {
  console.log(json ? JSON.stringify(rows) : text(rows).join("\n"));
}

function table(mails: readonly FailedMail[]): string[] {
  if (mails.length === 0) return ["no mail has failed"];
  return mails.map(
    ({ id, time, type, userId, failure }) => `${id}  ${time}  ${type}  to user ${userId}: ${failure}`,
  );
}

function report(outcomes: readonly Outcome[]): string[] {
  const of = (state: Outcome["state"]) => outcomes.filter((outcome) => outcome.state === state);
  return [
    `${of("sent").length} sent`,
    ...of("failed").map(({ id, failure }) => `${id} failed again: ${failure}`),
    ...of("waits").map(
      ({ id, failure }) => `${id} waits: ${failure ?? "no notification runs, or its mail server is away"}`,
    ),
  ];
}
