/** The place in one user's list where the next page begins: after the row of this time and id. */
import { decodeCursor, encodeCursor } from "../../lib/cursor.ts";
import { isId } from "../../lib/ids.ts";

export interface Place {
  /** RFC 3339 in UTC, with milliseconds. */
  time: string;
  id: string;
}

const scopeOf = (userId: string): unknown => ["notification.list", userId];

export const cursorOf = (userId: string, { time, id }: Place): string =>
  encodeCursor(scopeOf(userId), [time, id]);

/** Undefined for no cursor. Throws validation_failed (422) for whatever `cursorOf` did not make for this user. */
export function placeOf(userId: string, cursor: string | undefined): Place | undefined {
  const position = decodeCursor(scopeOf(userId), cursor, [isTime, isId]);
  if (!position) return undefined;
  const [time, id] = position as [string, string];
  return { time, id };
}

/** The round trip refuses what JavaScript rolls over, such as 30 February, and the years that PostgreSQL has not. */
function isTime(value: unknown): boolean {
  if (typeof value !== "string" || !/^[12]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value)) return false;
  const time = new Date(value);
  return !Number.isNaN(time.getTime()) && time.toISOString() === value;
}
