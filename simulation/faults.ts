/**
 * How faults are drawn: at which points, how often, how long. Chance is not spread evenly: it favours the durable steps
 * that the protocol turns on, the first few passings of a point, and spans around the time limits of the code.
 */
import {
  type Fault,
  type MessageAction,
  PARTICIPANTS,
  type PointAction,
  type PointFault,
  type StatementAction,
} from "./plan.ts";
import type { Random } from "./random.ts";

const SHARP_STATEMENTS = [
  "register:decide",
  "order:insert-orders",
  "product:reserve",
  "payment:record-intents",
  "payment:record-answers",
  "order:commit-orders",
  "product:commit-reservations",
  "payment:settle-committed",
];
/** The raising of a seal, at its end. */
const RAISE = "commit set local";
const STATEMENTS = [
  ...SHARP_STATEMENTS,
  "register:acknowledge",
  "register:read-decisions",
  "order:commit seal",
  "product:commit seal",
  ...PARTICIPANTS.map((name) => `${name}:${RAISE}`),
  "register:raise-watermark",
  "register:prune-decisions",
  "order:prune-orders",
  "product:prune-reservations",
  "payment:prune-payments",
  "order:abort-orders",
  "product:abort-reservations",
  "payment:settle-aborted",
  "order:tombstone-orders",
  "product:tombstone-reservations",
  "payment:tombstone-payments",
  "payment:clear-debts",
  "order:mark-answered-pending",
];
const CALLS = [
  ...PARTICIPANTS.flatMap((name) => ["prepare", "commit", "abort"].map((phase) => [phase, name] as const)),
  ...PARTICIPANTS.flatMap((name) => ["raiseSeal", "prune"].map((step) => [step, name] as const)),
  ["run", "transaction-manager"],
  ["outcome", "transaction-manager"],
  ["place", "order"],
  ["authorize", "bank"],
  ["capture", "bank"],
  ["void", "bank"],
] as const;
const MESSAGES = CALLS.flatMap(([method, service]) => [`${method}>${service}`, `${method}<${service}`]);

const STATEMENT_ACTIONS: StatementAction[] = [
  "crash-before",
  "crash-after",
  "crash-late",
  "lost-before",
  "lost-after",
  "lost-late",
  "freeze-before",
  "freeze-after",
];
const MESSAGE_ACTIONS: MessageAction[] = ["lose", "duplicate", "delay"];
/** Around the limits of the code: a batch's rest, a retry, an inquiry, the time for votes, the presumed abort. */
const SPANS_MS = [30, 120, 600, 1_500, 3_200, 4_500, 7_000];
const HOUR_MS = 3_600_000;
const JUMPS_MS = [HOUR_MS, -HOUR_MS, 10 * 365 * 24 * HOUR_MS, -10 * 365 * 24 * HOUR_MS];

export function faultOf(random: Random, nodes: readonly string[]): Fault {
  const kind = random.next();
  if (kind < 0.5)
    return at(random, random.pick(random.chance(0.6) ? SHARP_STATEMENTS : STATEMENTS), STATEMENT_ACTIONS);
  if (kind < 0.8) return at(random, random.pick(MESSAGES), MESSAGE_ACTIONS);
  const what = random.pick(["crash", "freeze", "cut", "jump"] as const);
  const ms = what === "jump" ? random.pick(JUMPS_MS) : spanOf(random);
  return { at: random.between(0, 6_000), node: random.pick(nodes), do: what, ms };
}

/** Faults that break something only together: one that makes a case rare, and those that then matter. */
export const themeOf = (random: Random): Fault[] => random.pick(THEMES)(random);

const some = <Item>(length: number, make: () => Item): Item[] => Array.from({ length }, make);
const LOSSES: MessageAction[] = ["lose", "delay"];
const UNHEARD: StatementAction[] = ["lost-after", "lost-late"];

const THEMES: ((random: Random) => Fault[])[] = [
  // The driver is gone once it has decided, and recovery does not reach everybody.
  (random) => [
    { ...at(random, "register:decide", ["crash-after", "freeze-after"]), ms: 7_000 },
    ...some(4, () => at(random, `commit${random.pick(["<", ">"])}${random.pick(PARTICIPANTS)}`, LOSSES)),
  ],
  // The driver is stopped with its decision in hand until another has presumed an abort.
  (random) => [
    { ...at(random, "register:decide", ["freeze-before"]), ms: random.between(4_000, 9_000) },
    at(random, "register:decide", UNHEARD),
  ],
  // Order's database is away when the commit comes: nothing is confirmed, whoever brings it.
  (random) => [
    { ...at(random, "order:commit-orders", ["lost-before"]), nth: 1, times: random.between(5, 40) },
  ],
  // The bank answers late, twice or not at all.
  (random) =>
    some(3, () =>
      at(random, `${random.pick(["authorize", "capture", "void"])}${random.pick(["<", ">"])}bank`, LOSSES),
    ),
  // A seal is raised, slowly, while a prepare below it comes late and stays in doubt for the want of another vote.
  (random) => {
    const name = random.pick(PARTICIPANTS);
    const other = random.pick(PARTICIPANTS.filter((each) => each !== name));
    const nth = random.between(1, 2);
    return [
      { point: `${name}:${RAISE}`, nth: 1, times: 9, do: "freeze-before", ms: random.between(1_000, 3_000) },
      { point: `prepare>${name}`, nth, times: 1, do: "delay", ms: random.between(1_000, 2_600) },
      { point: `prepare>${other}`, nth, times: 1, do: "lose", ms: 0 },
    ];
  },
  // Votes are lost, or overtaken by the abort.
  (random) =>
    some(3, () => at(random, `prepare${random.pick(["<", ">"])}${random.pick(PARTICIPANTS)}`, LOSSES)),
];

function at(random: Random, point: string, actions: readonly PointAction[]): PointFault {
  return {
    point,
    // Mostly among the first few, and mostly once.
    nth: Math.min(1 + Math.floor(-Math.log(1 - random.next()) * 2), 9),
    times: random.pick([1, 1, 1, 1, 2, 5]),
    do: random.pick(actions),
    ms: spanOf(random),
  };
}

const spanOf = (random: Random): number => Math.round(random.pick(SPANS_MS) * (0.7 + 0.6 * random.next()));
