/** The model of the protocol holds, and fails where it is broken. The larger configurations: `npm run model`. */
import { describe, expect, test } from "@jest/globals";
import { CONFIGURATIONS, defineOf, MUTANTS, MUTANTS_RUN_IN } from "../../scripts/model/configurations.ts";
import { verify } from "../../scripts/model/spin.ts";
import { checked } from "./spin.ts";

/** The largest take half a minute alone, and several times that on a busy machine. */
const TIMEOUT_MS = 400_000;
const definesOf = (name: string) => CONFIGURATIONS.find((each) => each.name === name)?.defines ?? [];

describe("the model", () => {
  checked.each(CONFIGURATIONS)(
    "$name is verified: $about",
    async ({ defines, isLiveness }) => {
      const { verified, violated, states, history } = await verify(defines, { isLiveness, optimize: true });
      expect({ verified, violated, history }).toEqual({ verified: true, violated: undefined, history: [] });
      expect(states).toBeGreaterThan(10_000);
    },
    TIMEOUT_MS,
  );
});

describe("a mutant", () => {
  checked.each(MUTANTS)(
    "%s fails, and its history ends with what it violates",
    async (mutant) => {
      const defines = [...definesOf(MUTANTS_RUN_IN), defineOf(mutant)];
      const { verified, violated, history } = await verify(defines, { isLiveness: false, optimize: false });
      expect(verified).toBe(false);
      expect(history.at(-1)).toBe(`violated: ${violated}`);
    },
    TIMEOUT_MS,
  );

  checked(
    "that leaves a vote in doubt for ever violates that everybody ends",
    async () => {
      const defines = [...definesOf("ends"), "MUTANT_NEVER_ASK"];
      expect(await verify(defines, { isLiveness: true, optimize: true })).toMatchObject({
        verified: false,
        violated: "everybody_ends",
      });
    },
    TIMEOUT_MS,
  );
});

test("every mutant is a rule in the model that can be broken", async () => {
  const { readFile } = await import("node:fs/promises");
  const rules = await readFile(new URL("../../docs/model/rules.pml", import.meta.url), "utf8");
  for (const mutant of MUTANTS) expect(rules).toContain(defineOf(mutant));
});
