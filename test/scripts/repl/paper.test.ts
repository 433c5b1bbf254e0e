import { expect, test } from "@jest/globals";
import { age, money, plain, table } from "../../../scripts/repl/paper.ts";

test("money is shown in the currency's own units", () => {
  expect(money({ amount: 2_970, currency: "EUR" })).toBe("EUR 29.70");
  expect(money({ amount: 500, currency: "JPY" })).toBe("JPY 500");
  expect(money({ amount: 1_234, currency: "KWD" })).toBe("KWD 1.234");
  expect(money(null)).toBe("");
});

test("an age is shown in its largest unit", () => {
  expect([0, 999, 1_000, 59_999, 60_000, 7_200_000, 172_800_000].map((ms) => age(ms))).toEqual([
    "0 ms",
    "999 ms",
    "1 s",
    "59 s",
    "1 min",
    "2 h",
    "2 d",
  ]);
  expect(age(null)).toBe("");
});

test("a table is as wide as what stands in it, without its empty columns, and coloured outside the padding's measure", () => {
  const text = table(
    ["NAME", "NOTHING", "N"],
    [
      ["a", "", "1"],
      [{ text: "longer", colour: "red" }, "", "22"],
    ],
    (colour, part) => (colour === "red" ? `<${part}>` : part),
  );
  expect(text).toBe("NAME    N\na       1\n<longer>  22");
  expect(table(["A"], [["x"]], plain)).toBe("A\nx");
});
