/** How the console writes: tables, ages, money, colours where the output is a terminal that wants them. Pure. */
import { styleText } from "node:util";
import type { Money } from "../../lib/money.ts";

export type Colour = "red" | "yellow" | "green" | "dim" | "bold";
export type Paint = (colour: Colour, text: string) => string;

/** For a terminal. It leaves the text alone where NO_COLOR, or the terminal, says so. */
export const painter =
  (stream: NodeJS.WriteStream): Paint =>
  (colour, text) =>
    styleText(colour, text, { stream, validateStream: true });

export const plain: Paint = (_colour, text) => text;

export interface Cell {
  text: string;
  colour?: Colour | undefined;
}

/** Columns as wide as their widest cell; a column with nothing in it is left out. */
export function table(head: readonly string[], rows: readonly (string | Cell)[][], paint: Paint): string {
  const cells = rows.map((row) =>
    row.map((cell): Cell => (typeof cell === "string" ? { text: cell } : cell)),
  );
  const kept = head.map((_, i) => i).filter((i) => cells.some((row) => row[i]?.text));
  const width = (i: number) =>
    Math.max((head[i] as string).length, ...cells.map((row) => row[i]?.text.length ?? 0));
  const line = (row: readonly Cell[]) =>
    kept
      .map((i, at) => {
        const { text = "", colour } = row[i] ?? {};
        const padded = at === kept.length - 1 ? text : text.padEnd(width(i));
        return colour ? paint(colour, padded) : padded;
      })
      .join("  ")
      .trimEnd();
  return [line(head.map((text) => ({ text, colour: "bold" as const }))), ...cells.map(line)].join("\n");
}

const UNITS = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
] as const;

/** `3 min`, `12 s`, `80 ms`; empty where there is no time. */
export function age(ms: number | null): string {
  if (ms === null) return "";
  const unit = UNITS.find(([size]) => ms >= size);
  return unit ? `${Math.floor(ms / unit[0])} ${unit[1]}` : `${Math.round(ms)} ms`;
}

/** `EUR 29.70`; empty where there is none. */
export function money(value: Money | null): string {
  if (value === null) return "";
  const { amount, currency } = value;
  const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  // The code is followed by a no-break space, which not every terminal copies as a space.
  return format.format(amount / 10 ** digits).replace("\u00a0", " ");
}
