/**
 * Applies a mutant to the modules that are loaded after it, in this thread only. It fails loudly where the patch does
 * not fit: a mutant that no longer breaks anything would otherwise count as caught, or as survived, for no reason.
 */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { MUTANTS, type Mutant } from "./mutants.ts";

const ROOT = new URL("../", import.meta.url);

export function mutantNamed(name: string): Mutant {
  const mutant = MUTANTS.find((each) => each.name === name);
  if (!mutant)
    throw new Error(`there is no mutant ${name}; there are ${MUTANTS.map((each) => each.name).join(", ")}`);
  return mutant;
}

/** Throws unless `find` stands in the source exactly once. */
export function patched({ name, file, find, replace }: Mutant, source: string): string {
  const times = source.split(find).length - 1;
  if (times !== 1)
    throw new Error(
      `mutant ${name} does not fit: its text stands in ${file} ${times} times, not once:\n${find}`,
    );
  return source.replace(find, () => replace);
}

export function mutate(mutant: Mutant): void {
  const target = new URL(mutant.file, ROOT).href;
  patched(mutant, readFileSync(new URL(target), "utf8"));
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      if (url !== target) return loaded;
      return { ...loaded, source: patched(mutant, String(loaded.source)) };
    },
  });
}
