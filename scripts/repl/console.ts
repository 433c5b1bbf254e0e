/**
 * The operators' console: the framework's REPL with the commands of this shop. It never ends the process by itself:
 * `exit`, and the end of its input, call what the caller gives, so that whoever started more than a broker stops it too.
 */
import type { ServiceBroker } from "moleculer";
import repl from "moleculer-repl";
import { actors } from "./actors.ts";
import { complaint } from "./complaint.ts";
import { type Paint, painter } from "./paper.ts";
import { type TxArgs, tx } from "./transactions.ts";

interface Command {
  command: string;
  description: string;
  alias: string | null;
  allowUnknownOptions: boolean;
  parse: null;
  options: { option: string; description: string }[];
  action(broker: ServiceBroker, args: never): Promise<void>;
}

type Evaluate = (
  this: unknown,
  line: string,
  context: unknown,
  file: string,
  done: (...answer: unknown[]) => void,
) => void;

/** `write` gets whole lines of text. */
export function commands(write: (text: string) => void, paint: Paint): Command[] {
  const said = async (text: Promise<string>): Promise<void> =>
    write(await text.catch((err) => paint("red", complaint(err))));
  return [
    {
      command: "tx <action> [id] [outcome]",
      description: "Transactions: list, show ID, force ID commit|abort, close ID.",
      alias: null,
      allowUnknownOptions: false,
      parse: null,
      options: [
        { option: "-r, --reason <text>", description: "why it is forced or closed; recorded" },
        {
          option: "--heuristic <participants>",
          description: "change their rows even against or without the register",
        },
        { option: "-s, --state <state>", description: "list: in-doubt (the default) or heuristic" },
        { option: "-l, --limit <number>", description: "list: how many, 20 by default" },
        { option: "--after <cursor>", description: "list: where the page before ended" },
      ],
      action: (broker, args: TxArgs) =>
        said(tx((action, params) => broker.call(action, params), args, paint)),
    },
    {
      command: "actors",
      description: "Mailboxes and loops of every node.",
      alias: null,
      allowUnknownOptions: false,
      parse: null,
      options: [],
      action: (broker) => said(actors(broker, paint)),
    },
  ] as Command[];
}

/** `leave` stops everything that was started; the process ends when it resolves. */
export function openConsole(broker: ServiceBroker, leave: () => Promise<void>): void {
  // The REPL stops its broker and exits: what it is given as a broker is ours in all but its stop.
  const facade = Object.create(broker, { stop: { value: leave } }) as ServiceBroker;
  const server = repl(facade, {
    delimiter: `${broker.namespace} $`,
    customCommands: commands((text) => console.log(text), painter(process.stdout)) as never,
  });
  // Lines that are pasted or piped would run at once, and share one parser: the id of one could be forced with the
  // outcome of another. Each waits for the one before.
  const evaluation = server as { eval: Evaluate };
  const evaluate = evaluation.eval;
  let last = Promise.resolve();
  // A function, because the REPL's own evaluation asks `this` for its context.
  evaluation.eval = function (line, context, file, done) {
    last = last.then(
      () =>
        new Promise<void>((resolve) => {
          evaluate.call(this, line, context, file, (...answer) => {
            done(...answer);
            resolve();
          });
        }),
    );
  };
  // At the end of the input what was typed is finished first.
  server.removeAllListeners("exit");
  server.once("exit", () => void last.then(leave).then(() => process.exit(0)));
}
