/** The account, pure: what a row holds, what its owner is shown, and when two email addresses are the same. */
import type { Role, UserView } from "./api.ts";

export interface User {
  id: string;
  email: string;
  name: string;
  passwordHash: string;
  roles: Role[];
  createdAt: Date;
}

/**
 * The address syntax of HTML's `<input type=email>` (WHATWG HTML 4.10.5.1.5). Its letters are ASCII, so that lower
 * case is one unambiguous thing, and it holds neither white space nor list separators, so that it is safe in a header.
 */
export const EMAIL_PATTERN =
  "^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$";

/** RFC 5321 4.5.3.1.3: a path is 256 octets with its angle brackets. */
export const EMAIL_LENGTH_MAX = 254;

/** Two addresses with one key are one account. */
export const emailKeyOf = (email: string): string => email.trim().toLowerCase();

export const viewOf = (user: Omit<User, "passwordHash">): UserView => ({
  id: user.id,
  email: user.email,
  name: user.name,
  roles: user.roles,
  createdAt: user.createdAt.toISOString(),
});
