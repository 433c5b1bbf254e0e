/**
 * The place in one user's list where the next page begins: after the row of this time and id. Opaque to the client,
 * and refused where it was made for somebody else.
 */
import { ShopError } from "../../lib/errors.ts";
import { isId } from "../../lib/ids.ts";

export interface Place {
  /** RFC 3339 in UTC, with milliseconds. */
  time: string;
  id: string;
}

export const cursorOf = (userId: string, { time, id }: Place): string =>
  Buffer.from(JSON.stringify([userId, time, id])).toString("base64url");

/** Throws validation_failed (422) for whatever `cursorOf` did not make for this user. */
export function placeOf(userId: string, cursor: string): Place {
  const [owner, time, id] = partsOf(cursor);
  if (owner === userId && typeof time === "string" && isTime(time) && isId(id)) return { time, id };
  const message = "The cursor is not one of this list; begin again without it.";
  throw new ShopError("validation_failed", message, {
    errors: [{ parameter: "cursor", code: "cursor_invalid", message }],
  });
}

function partsOf(cursor: string): unknown[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
    return Array.isArray(parts) ? parts : [];
  } catch {
    return []; // not JSON, so not ours
  }
}

/** The round trip refuses what JavaScript rolls over, such as 30 February, and the years that PostgreSQL has not. */
function isTime(text: string): boolean {
  if (!/^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text)) return false;
  const time = new Date(text);
  return !Number.isNaN(time.getTime()) && time.toISOString() === text;
}
