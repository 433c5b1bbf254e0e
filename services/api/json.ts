/**
 * Reads a JSON text into values that every service may trust in form: UTF-8, at most 20 levels deep, no key that
 * reaches a prototype, every number exact, every string well formed. One parse, one walk. Throws malformed_request
 * (400) for what cannot be parsed and validation_failed (422) with a pointer to each fault for what can.
 */
import { isUtf8 } from "node:buffer";
import { type Fault, ShopError } from "../../lib/errors.ts";
import { FAULTS_MAX, pointerOf, stringFault } from "../../lib/faults.ts";

/** Our deepest body is 4 levels; the limit keeps recursive code (this walk, serializers, validators) off the stack's end. */
const DEPTH_MAX = 20;

export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw malformed("The body is not valid UTF-8.");
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed("The body is not valid JSON.");
  }
  // Only an escape can bring in U+0000 or half a surrogate pair: UTF-8 has no surrogates, JSON no raw control characters.
  const walk: Walk = { escapes: text.includes("\\u"), path: [], faults: [] };
  check(value, walk);
  if (walk.faults.length > 0)
    throw new ShopError("validation_failed", "The body holds values that cannot be taken exactly.", {
      errors: walk.faults,
    });
  return value;
}

/** True for a key that reaches an object's prototype when it is copied or merged. */
export const isPrototypeKey = (key: string): boolean =>
  key === "__proto__" || key === "constructor" || key === "prototype";

interface Walk {
  escapes: boolean;
  path: (string | number)[];
  faults: Fault[];
}

function check(value: unknown, walk: Walk): void {
  switch (typeof value) {
    case "number":
      if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))
        report(walk, { code: "number_range", message: "must be finite and, where whole, below 2^53" });
      return;
    case "string":
      if (walk.escapes) report(walk, stringFault(value));
      return;
    case "object":
      if (value !== null) checkMembers(value, walk);
  }
}

function checkMembers(value: object, walk: Walk): void {
  const { path } = walk;
  if (path.length >= DEPTH_MAX) throw malformed(`The body is nested deeper than ${DEPTH_MAX} levels.`);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      path.push(i);
      check(value[i], walk);
      path.pop();
    }
    return;
  }
  for (const key in value) {
    if (isPrototypeKey(key)) throw malformed(`The body holds the key ${key}, which is not allowed.`);
    path.push(key);
    if (walk.escapes) report(walk, stringFault(key));
    check((value as Record<string, unknown>)[key], walk);
    path.pop();
  }
}

function report(walk: Walk, fault: Omit<Fault, "pointer"> | undefined): void {
  if (fault && walk.faults.length < FAULTS_MAX) walk.faults.push({ pointer: pointerOf(walk.path), ...fault });
}

const malformed = (detail: string): ShopError => new ShopError("malformed_request", detail);
