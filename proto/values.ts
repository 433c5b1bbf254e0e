/**
 * How values look in a message and in our own objects: int64 as text and as an exact number, a timestamp and RFC 3339,
 * an enum's name and our word for it. Throws validation_failed for what has no exact counterpart.
 */
import { type Fault, ShopError } from "../lib/errors.ts";
import { stringFault } from "../lib/faults.ts";
import type { Money } from "../lib/money.ts";

/** int64, as proto-loader reads it. */
export type Int64 = string;
export interface MoneyMessage {
  amount?: Int64;
  currency?: string;
}
export interface Timestamp {
  seconds: Int64;
  nanos: number;
}

export const refused = (fault: Fault): ShopError =>
  new ShopError("validation_failed", "The message holds values that cannot be taken.", { errors: [fault] });

/** Absent is 0 in proto3. */
export function numberOf(value: Int64 | undefined, pointer: string): number {
  const number = Number(value ?? 0);
  if (Number.isSafeInteger(number)) return number;
  throw refused({ pointer, code: "number_unsafe", message: "must lie between -2^53 and 2^53" });
}

/** Absent stays absent: for fields that are `optional`. */
export const optionalNumberOf = (value: Int64 | undefined, pointer: string): number | undefined =>
  value === undefined ? undefined : numberOf(value, pointer);

export const moneyOf = (money: MoneyMessage, pointer: string): Money => ({
  amount: numberOf(money.amount, `${pointer}/amount`),
  currency: money.currency ?? "",
});

export const toMoney = ({ amount, currency }: Money): MoneyMessage => ({ amount: String(amount), currency });

/** RFC 3339 with milliseconds, as all our times are. */
export function toTimestamp(time: string): Timestamp {
  const ms = Date.parse(time);
  const seconds = Math.floor(ms / 1_000);
  return { seconds: String(seconds), nanos: (ms - seconds * 1_000) * 1_000_000 };
}

export const timeOf = ({ seconds, nanos = 0 }: Timestamp): string =>
  new Date(Number(seconds ?? 0) * 1_000 + nanos / 1_000_000).toISOString();

/** Both directions of an enum: our word for a name of the contract, and the reverse. */
export class Words<Word extends string> {
  readonly #words: ReadonlyMap<string, Word>;
  readonly #names: ReadonlyMap<Word, string>;

  constructor(names: Record<Word, string>) {
    const pairs = Object.entries(names) as [Word, string][];
    this.#names = new Map(pairs);
    this.#words = new Map(pairs.map(([word, name]) => [name, word]));
  }

  /** A number is a value that this contract does not know; so is a name of a newer one. */
  word(name: string | number | undefined, pointer: string): Word {
    const word = this.#words.get(String(name));
    if (word !== undefined) return word;
    throw refused({
      pointer,
      code: "enum_value",
      message: `must be one of ${[...this.#words.keys()].join(", ")}`,
    });
  }

  name(word: Word): string {
    return this.#names.get(word) as string;
  }
}

/** Throws for a string, at any depth, that no database or log takes as it is: the same rule as for a JSON body. */
export function refuseFaultyStrings(value: unknown, pointer = ""): void {
  if (typeof value === "string") {
    const fault = stringFault(value);
    if (fault) throw refused({ pointer, ...fault });
  } else if (typeof value === "object" && value !== null) {
    for (const [key, member] of Object.entries(value)) refuseFaultyStrings(member, `${pointer}/${key}`);
  }
}
