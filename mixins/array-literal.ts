/**
 * Arrays as PostgreSQL reads them (https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO), for the statements
 * that carry a whole batch. JSON quotes a string as an array literal does, so the engine's own JSON writes it: half to a
 * tenth of the time that escaping each element takes.
 */

/** A backslash that JSON writes and that an array literal reads otherwise: `\n` stands for a line there, for an n here. */
const OTHER_ESCAPE = /(?<!\\)(?:\\\\)*\\[^"\\]/;

/** The literal of an array of strings, numbers and nulls. Anything else, which pg knows how to write, is returned as is. */
export function arrayLiteral(value: unknown): unknown {
  if (!Array.isArray(value) || !value.every(isPlain)) return value;
  const json = JSON.stringify(value);
  if (json.includes("\\") && OTHER_ESCAPE.test(json)) return value;
  return `{${json.slice(1, -1)}}`;
}

// JSON writes NaN and infinities as null.
const isPlain = (element: unknown): boolean =>
  typeof element === "string" || element === null || Number.isFinite(element);
