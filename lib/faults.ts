/**
 * Faults of a request, the same whichever way it came. Turns fastest-validator's into ours: `items[0].quantity` becomes
 * the pointer `/items/0/quantity`, a path or query parameter its name, and "forbidden keys: a, b" one fault for each
 * unknown key.
 */
import type { Fault } from "./errors.ts";

/** More faults than anyone reads; without a bound a 100 KB body could ask for a 10 MB answer. */
export const FAULTS_MAX = 100;

/** The longest list of allowed values, the currencies, is cut. */
const MESSAGE_CHARS_MAX = 300;

interface ValidatorFault {
  type?: string;
  field?: string;
  message?: string;
  expected?: unknown;
}

/** RFC 6901. */
export const pointerOf = (path: readonly (string | number)[]): string =>
  path.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

/** The fault of a string no database or log takes as it is, or undefined. */
export function stringFault(value: string): Omit<Fault, "pointer"> | undefined {
  if (value.includes("\0")) return { code: "null_character", message: "must not contain U+0000" };
  if (!value.isWellFormed()) return { code: "lone_surrogate", message: "must not contain a lone surrogate" };
  return undefined;
}

/** `params` is what was validated; `parameters` names those of them that came from the path or the query. */
export function faultsOf(data: unknown, params: unknown, parameters: ReadonlySet<string>): Fault[] {
  const faults: Fault[] = [];
  const nulls = new Map<unknown[], number>();
  for (const item of Array.isArray(data) ? (data as ValidatorFault[]) : []) {
    const steps: string[] = item.field?.match(/[^.[\]']+/g) ?? [];
    const value = valueAt(steps, params);
    if (item.type === "required" && Array.isArray(value)) {
      // The validator names the list where an item of it is null, once for each.
      const found = value.indexOf(null, (nulls.get(value) ?? -1) + 1);
      nulls.set(value, found);
      steps.push(String(found));
    }
    const place = (path: readonly string[]): Fault => ({
      ...(path[0] !== undefined && parameters.has(path[0])
        ? { parameter: path[0] }
        : { pointer: pointerOf(path) }),
      code: snakeCase(item.type ?? "invalid"),
      message: messageOf(item),
    });
    if (item.type === "objectStrict") {
      for (const key of unknownKeys(item, value)) {
        if (faults.length === FAULTS_MAX) return faults;
        faults.push({ ...place([...steps, key]), code: "unknown_member", message: "is not known here" });
      }
    } else faults.push(place(steps));
    if (faults.length === FAULTS_MAX) break;
  }
  return faults;
}

const valueAt = (steps: readonly string[], params: unknown): unknown =>
  steps.reduce((parent, step) => (parent as Record<string, unknown> | undefined)?.[step], params);

/** The validator joins the keys with commas, which keys may contain; so they are read from the value itself. */
function unknownKeys(fault: ValidatorFault, value: unknown): string[] {
  const known = new Set(String(fault.expected ?? "").split(", "));
  return Object.keys(value ?? {}).filter((key) => !known.has(key));
}

/** Where the fault is stands beside it, and the validator's text for enums calls the allowed values the value. */
function messageOf({ type, message = "is not valid", expected }: ValidatorFault): string {
  const text =
    type === "enumValue" || type === "stringEnum"
      ? `must be one of ${String(expected)}`
      : message.replace(/^The '[^']*' (field )?/, "").replace(/\.$/, "");
  return text.slice(0, MESSAGE_CHARS_MAX);
}

const snakeCase = (word: string): string => word.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
