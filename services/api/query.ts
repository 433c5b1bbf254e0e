/**
 * Reads a query string into strings, one per declared name that has a value: forms send `q=` for what was left open.
 * What is not declared is refused, not ignored: a client that mistypes `limit` should learn it, and nothing from the
 * URL may ever stand in for a member of the body.
 */
import { type Fault, ShopError } from "../../lib/errors.ts";
import { FAULTS_MAX, stringFault } from "../../lib/faults.ts";
import { isPrototypeKey } from "./json.ts";
import type { JsonSchema } from "./json-schema.ts";

/**
 * `query` is what follows the question mark, `declared` the names with their schemas. Throws malformed_request (400)
 * or validation_failed (422).
 */
export function parseQuery(query: string, declared: ReadonlyMap<string, JsonSchema>): Record<string, string> {
  const values: Record<string, string> = {};
  const seen = new Set<string>();
  const faults: Fault[] = [];
  const report = (parameter: string, fault: Omit<Fault, "parameter">): void => {
    if (faults.length < FAULTS_MAX) faults.push({ parameter, ...fault });
  };
  for (const part of query.split("&")) {
    if (part === "") continue;
    const cut = part.indexOf("=");
    const name = decode(cut === -1 ? part : part.slice(0, cut));
    const value = cut === -1 ? "" : decode(part.slice(cut + 1));
    if (isPrototypeKey(name))
      throw new ShopError("malformed_request", `The query holds the name ${name}, which is not allowed.`);
    if (!declared.has(name)) report(name, { code: "unknown_parameter", message: "is not known here" });
    else if (seen.has(name)) report(name, { code: "repeated", message: "must not be repeated" });
    else if (value !== "") {
      values[name] = value;
      const fault = stringFault(value) ?? integerFault(value, declared.get(name));
      if (fault) report(name, fault);
    }
    seen.add(name);
  }
  if (faults.length > 0)
    throw new ShopError("validation_failed", "The query string is not valid.", { errors: faults });
  return values;
}

/** The validator takes whatever JavaScript can read as a number: hexadecimals, exponents, blanks. */
const integerFault = (value: string, schema?: JsonSchema): Omit<Fault, "parameter"> | undefined =>
  schema?.type === "integer" && !/^-?\d+$/.test(value)
    ? { code: "number_integer", message: "must be a decimal integer" }
    : undefined;

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    throw new ShopError("malformed_request", "The URL holds a percent-encoding that is not UTF-8.");
  }
}
