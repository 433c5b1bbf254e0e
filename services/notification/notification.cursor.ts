/** The place in one user's list where the next page begins: after the row of this time and id. */
import { decodeCursor, encodeCursor, instant } from "../../lib/cursor.ts";
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
  const position = decodeCursor(scopeOf(userId), cursor, [instant, isId]);
  if (!position) return undefined;
  const [time, id] = position as [string, string];
  return { time, id };
}
