/** The checker is only as good as what it catches: every known way to break the protocol must show. */
import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { MUTANTS } from "../../simulation/mutants.ts";
import { patched } from "../../simulation/mutate.ts";
import { MUTANT_SEEDS_MAX, runMutants, shrunkHistoryOf } from "../../simulation/pool.ts";

const sourceOf = (file: string): string => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");

test.each(MUTANTS)("$name fits its source in one place and changes it", (mutant) => {
  const source = sourceOf(mutant.file);
  expect(patched(mutant, source)).not.toBe(source);
});

test("a patch that does not fit is an error, whether its text is gone or stands there twice", () => {
  const mutant = { name: "m", about: "", file: "f.ts", find: "x", replace: "y" };
  expect(() => patched(mutant, "none")).toThrow("stands in f.ts 0 times");
  expect(() => patched(mutant, "x x")).toThrow("stands in f.ts 2 times");
});

test("names of mutants are unique, and there are enough of them", () => {
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  expect(MUTANTS.length).toBeGreaterThanOrEqual(14);
});

test("every mutant is caught", async () => {
  const results = await runMutants(
    MUTANTS.map(({ name }) => name),
    1,
  );
  expect(results.filter(({ caught }) => !caught)).toEqual([]);
  expect(results).toHaveLength(MUTANTS.length);
  for (const { violation } of results) expect(violation?.seed).toBeLessThanOrEqual(MUTANT_SEEDS_MAX);
}, 180_000);

test("what catches a mutant is shrunk to a history that a person can read", async () => {
  const [result] = await runMutants(["rebind-key-without-outcome"], 1);
  const history = await shrunkHistoryOf(result?.violation?.seed ?? 0, "rebind-key-without-outcome");
  expect(history).toMatch(/^seed \d+: \d managers, stock/);
  expect(history).toMatch(/VIOLATION at \d+ ms: order aborts tx\d+/);
  expect(history.split("\n\n")[0]?.split("\n").length).toBeLessThan(8);
}, 60_000);
