import { describe, expect, test } from "@jest/globals";
import { COMMON_PASSWORDS } from "../../../services/user/password.common.ts";
import { makePassword, normalised, passwordFault } from "../../../services/user/password.ts";

const codeOf = (password: string): string | undefined => passwordFault(password)?.code;

describe("a new password", () => {
  test("is refused below 8 code points, however many bytes they have", () => {
    expect(codeOf("🦊".repeat(7))).toBe("password_too_short");
    expect(codeOf("🦊".repeat(8))).toBeUndefined();
  });

  test("is refused above 256 code points", () => {
    expect(codeOf("🦊".repeat(256))).toBeUndefined();
    expect(codeOf("🦊".repeat(257))).toBe("password_too_long");
  });

  test("is counted in its normal form", () => {
    // e and a combining acute are two code points, and one after NFKC.
    expect(codeOf("e\u0301".repeat(7))).toBe("password_too_short");
    expect(codeOf("e\u0301".repeat(256))).toBeUndefined();
  });

  test("is refused among the commonest, in any case and in any width", () => {
    for (const password of ["password1", "PassWord1", "ｐａｓｓｗｏｒｄ１", "qwertyuiop"])
      expect([password, codeOf(password)]).toEqual([password, "password_common"]);
  });

  test("is refused with half a character in it", () => {
    expect(codeOf("correct horse \ud83e")).toBe("password_malformed");
  });

  test("needs no mixture of letters, digits and signs", () => {
    expect(codeOf("correct horse")).toBeUndefined();
  });
});

test("two ways of typing the same text have one normal form", () => {
  expect(normalised("Cafe\u0301 ﬁ")).toBe(normalised("Café fi"));
});

test("the blocklist holds some hundred entries that would pass the other rules", () => {
  expect(COMMON_PASSWORDS.size).toBeGreaterThanOrEqual(300);
  for (const password of COMMON_PASSWORDS) {
    expect(password).toBe(normalised(password).toLowerCase());
    expect([...password].length).toBeGreaterThanOrEqual(8);
  }
});

test("a made password is acceptable, and another one each time", () => {
  const made = new Set(Array.from({ length: 100 }, makePassword));
  expect(made.size).toBe(100);
  for (const password of made) expect(passwordFault(password)).toBeUndefined();
});
