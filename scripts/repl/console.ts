/**
 * The operators' console: the framework's REPL with the commands of this shop. It never ends the process by itself:
 * `exit`, and the end of its input, call what the caller gives, so that whoever started more than a broker stops it too.
 */
import type { ServiceBroker } from "moleculer";
import repl from "moleculer-repl";
import { outliveTerminal } from "../../lib/stop.ts";
import { actors } from "./actors.ts";
import { shop } from "./books.ts";
import { breakers, cluster } from "./cluster.ts";
import { complaint } from "./complaint.ts";
import { type DrainArgs, drain } from "./drain.ts";
import { eventsLag } from "./events.ts";
import { type Paint, painter } from "./paper.ts";
import { type TxArgs, tx } from "./transactions.ts";

interface Command {
  command: string;
  description: string;
  alias: string | null;
  allowUnknownOptions: boolean;
  parse: null;
  options: { option: string; description: string }[];
  // biome-ignore lint/suspicious/noExplicitAny: each command has arguments of its own
  action(broker: ServiceBroker, args: any): Promise<void>;
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
  const command = <Args>(
    command: string,
    description: string,
    run: (broker: ServiceBroker, args: Args) => Promise<string>,
    options: Command["options"] = [],
  ): Command => ({
    command,
    description,
    alias: null,
    allowUnknownOptions: false,
    parse: null,
    options,
    action: async (broker, args) =>
      write(await run(broker, args).catch((err) => paint("red", complaint(err)))),
  });
  return [
    command(
      "tx <action> [id] [outcome]",
      "Transactions: list, show ID, force ID commit|abort, close ID.",
      (broker, args: TxArgs) => tx((action, params) => broker.call(action, params), args, paint),
      [
        { option: "-r, --reason <text>", description: "why it is forced or closed; recorded" },
        {
          option: "--heuristic <participants>",
          description: "change their rows even against or without the register",
        },
        { option: "-s, --state <state>", description: "list: in-doubt (the default) or heuristic" },
        { option: "-l, --limit <number>", description: "list: how many, 20 by default" },
        { option: "--after <cursor>", description: "list: where the page before ended" },
      ],
    ),
    command("actors", "Mailboxes and loops of every node.", (broker) => actors(broker, paint)),
    command("cluster", "Nodes: state, services, mailboxes, breakers.", (broker) => cluster(broker, paint)),
    command("breakers", "Breakers that are not closed, of every node.", (broker) => breakers(broker, paint)),
    command(
      "drain [target] [service]",
      "Takes a node, or one service of it, out: it finishes and stops hosting.",
      (broker, args: DrainArgs) => drain(broker, args),
      [{ option: "--last", description: "also where no other node hosts it" }],
    ),
    command("events-lag", "events lag: what is not published, or not taken by a consumer.", (broker) =>
      eventsLag(broker, paint),
    ),
    command("shop <action>", "The shop's books: audit.", (_broker, args: { action?: string }) => shop(args)),
  ];
}

/** `leave` stops everything that was started; the process ends when it resolves. */
export function openConsole(broker: ServiceBroker, leave: () => Promise<void>): void {
  // The REPL stops its broker and exits: what it is given as a broker is ours in all but its stop.
  const facade = Object.create(broker, { stop: { value: leave } }) as ServiceBroker;
  const server = repl(facade, {
    delimiter: `${broker.namespace} $`,
    customCommands: commands((text) => console.log(text), painter(process.stdout)) as never,
  });
  // It puts the terminal's mode back, also where the terminal is gone.
  outliveTerminal([server]);
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
          evaluate.call(this, ours(line), context, file, (...answer) => {
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

/** The framework has a command `events` of its own, which lists what its services listen to. */
const ours = (line: string): string => line.replace(/^\s*events\s+lag\b/, "events-lag");
