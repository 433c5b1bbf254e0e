/**
 * What may be a password, pure: 8 to 256 code points after NFKC, none of the commonest, no rules of composition
 * (NIST SP 800-63B 5.1.1.2). The hashing itself is in password.hasher.ts.
 */
import { randomInt } from "node:crypto";
import type { Fault } from "../../lib/errors.ts";
import { COMMON_PASSWORDS } from "./password.common.ts";

export const CODE_POINTS_MIN = 8;
export const CODE_POINTS_MAX = 256;

/** Code points that a password may have as it is written: NFKC makes one of four at most, a letter and three marks. */
export const WRITTEN_MAX = 4 * CODE_POINTS_MAX;

/** The form that is counted and hashed: the same for every keyboard and system that types the same text. */
export const normalised = (password: string): string => password.normalize("NFKC");

/** Why this cannot be a new password; undefined where it can. */
export function passwordFault(password: string): Fault | undefined {
  const fault = (code: string, message: string): Fault => ({ pointer: "/password", code, message });
  if (!password.isWellFormed()) return fault("password_malformed", "The password holds half a character.");
  const text = normalised(password);
  const length = [...text].length;
  if (length < CODE_POINTS_MIN)
    return fault(
      "password_too_short",
      `The password has ${length} characters; use ${CODE_POINTS_MIN} or more.`,
    );
  if (length > CODE_POINTS_MAX)
    return fault(
      "password_too_long",
      `The password has ${length} characters; use ${CODE_POINTS_MAX} or fewer.`,
    );
  if (COMMON_PASSWORDS.has(text.toLowerCase()))
    return fault("password_common", "The password is among the first that a guesser tries; use another.");
  return undefined;
}

// Without 0/O and 1/I/l: it is read from a terminal and typed by hand.
const ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

/** 20 characters of 57, about 116 bits. */
export const makePassword = (): string =>
  Array.from({ length: 20 }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
