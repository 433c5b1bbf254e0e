/** A run as a text for people: what was planned, what became durable, what it violates. */
import type { Plan } from "./plan.ts";
import type { Result } from "./run.ts";
import type { TraceLine } from "./trace.ts";

export function historyOf(plan: Plan, { trace, violations }: Result): string {
  const ids = new Map<string, string>();
  const short = (text: string) =>
    text.replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}/g, (id) => {
      if (!ids.has(id)) ids.set(id, `tx${ids.size + 1}`);
      return ids.get(id) as string;
    });
  return [
    ...planLines(plan),
    ...trace.map((line) => short(traceLine(line))),
    ...violations.map((what) => short(`VIOLATION ${what}`)),
  ].join("\n");
}

function planLines(plan: Plan): string[] {
  const weather = Object.entries(plan.weather).filter(([, chance]) => chance > 0);
  return [
    `seed ${plan.seed}: ${plan.managers} managers, stock ${plan.stock.join(" and ")}`,
    ...plan.clients.map(
      ({ name, product, quantity, token, startsAt, lastDiffers }) =>
        `${name} buys ${quantity} of product ${product} with ${token} at ${startsAt.join(", ")} ms` +
        (lastDiffers ? ", the last time one more" : ""),
    ),
    ...plan.prices.map(({ at, product, price }) => `product ${product} costs ${price} from ${at} ms on`),
    ...plan.faults.map((fault) =>
      "node" in fault
        ? `at ${fault.at} ms ${fault.node}: ${fault.do} (${fault.ms} ms)`
        : `${fault.point}, number ${fault.nth}${fault.times > 1 ? ` to ${fault.nth + fault.times - 1}` : ""}: ${fault.do} (${fault.ms} ms)`,
    ),
    ...plan.strays.map(({ at, participant, do: what }) => `at ${at} ms a stray ${what} to ${participant}`),
    ...(weather.length > 0 ? [weather.map(([kind, chance]) => `${kind} ${chance}`).join(", ")] : []),
    ...(plan.isReplayed ? ["at the end every message arrives once more"] : []),
    "",
  ];
}

function traceLine({ at, node, step, ...rest }: TraceLine): string {
  const details = Object.entries(rest).filter(([, value]) => value !== undefined);
  return `${at.toFixed(1).padStart(9)} ${node.padEnd(10)} ${step.padEnd(11)} ${details.map(([name, value]) => `${name}=${value}`).join(" ")}`;
}
