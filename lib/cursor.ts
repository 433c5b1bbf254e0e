/**
 * Opaque cursors for lists: where a page ended, bound to what was asked, so that a cursor of one list is refused by
 * another instead of skipping rows.
 */
import { hash } from "node:crypto";
import { ShopError } from "./errors.ts";

const fingerprint = (scope: unknown): string =>
  hash("sha256", JSON.stringify(scope), "base64url").slice(0, 12);

/** `scope`: the sort, the filters, the owner. `position`: the sort key of the last row, JSON values. */
export const encodeCursor = (scope: unknown, position: unknown[]): string =>
  Buffer.from(JSON.stringify([fingerprint(scope), ...position])).toString("base64url");

/** Checks of a position's members, so that a forged cursor is refused before it reaches SQL. */
export const text = (value: unknown): boolean => typeof value === "string" && !value.includes("\0");
export const integer = (value: unknown): boolean => Number.isSafeInteger(value);
/** RFC 3339 in UTC with milliseconds. The round trip refuses what JavaScript rolls over, such as 30 February; the years
 *  are those that every database has. */
export function instant(value: unknown): boolean {
  if (typeof value !== "string" || !/^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value)) return false;
  const time = new Date(value);
  return !Number.isNaN(time.getTime()) && time.toISOString() === value;
}

/**
 * The position, or undefined for no cursor. `shape` holds one check per member. Throws validation_failed for a cursor
 * that was not made for this scope and shape.
 */
export function decodeCursor(
  scope: unknown,
  cursor: string | undefined,
  shape: readonly ((value: unknown) => boolean)[],
): unknown[] | undefined {
  if (cursor === undefined) return undefined;
  const [made, ...position] = parse(cursor);
  const fits = position.length === shape.length && shape.every((check, i) => check(position[i]));
  if (made === fingerprint(scope) && fits) return position;
  throw new ShopError(
    "validation_failed",
    "The cursor does not belong to this list; start again without it.",
    {
      errors: [
        { parameter: "cursor", code: "cursor", message: "was not given out for this list and these filters" },
      ],
    },
  );
}

function parse(cursor: string): unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    return Array.isArray(value) ? value : [];
  } catch {
    return []; // not ours: the fingerprint cannot match
  }
}
