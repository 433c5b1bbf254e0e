/** Identifiers. Every id of the shop is a UUIDv7 (RFC 9562): unique, and roughly ordered by time of making. */
import { v7 } from "uuid";

export const newId = (): string => v7();

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a lower-case hyphenated UUID of any version. */
export const isId = (value: unknown): value is string => typeof value === "string" && UUID.test(value);
