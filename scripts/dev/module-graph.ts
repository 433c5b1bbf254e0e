/**
 * Which of our modules imports which, and how a changed one is loaded again. Node keeps every module by its URL for
 * ever, so a changed file, and whoever imports it at any depth, is imported from then on under a URL with the number
 * of the change. Importing this file installs the hook that sees to it; only what is loaded afterwards is known here.
 * For development alone: what was loaded before stays in memory until the process ends.
 */
import { registerHooks } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** What may change under a running shop; everything else is read once, at the start. */
export const RELOADABLE = ["lib", "actors", "mixins", "services"] as const;

/** By file: the number of its latest change, 0 as loaded at the start. */
const versions = new Map<string, number>();
const importers = new Map<string, Set<string>>();
let changes = 0;

/** The file of a URL, if it is one of ours that may change. */
function reloadable(url: string | undefined): string | undefined {
  if (!url?.startsWith("file:")) return undefined;
  const file = fileURLToPath(url);
  const [layer] = path.relative(ROOT, file).split(path.sep);
  return (RELOADABLE as readonly (string | undefined)[]).includes(layer) ? file : undefined;
}

registerHooks({
  resolve(specifier, context, nextResolve) {
    const resolved = nextResolve(specifier, context);
    const file = reloadable(resolved.url);
    if (file === undefined) return resolved;
    if (!versions.has(file)) versions.set(file, 0);
    const importer = reloadable(context.parentURL);
    if (importer !== undefined) {
      const known = importers.get(file) ?? new Set();
      importers.set(file, known.add(importer));
    }
    const version = versions.get(file);
    return version ? { ...resolved, url: `${pathToFileURL(file)}?change=${version}` } : resolved;
  },
});

export const loadedFiles = (): string[] => [...versions.keys()];

/** These files and all that import them, at any depth: the next import of any loads it anew. */
export function renew(files: readonly string[]): Set<string> {
  const affected = new Set<string>();
  const add = (file: string): void => {
    if (affected.has(file)) return;
    affected.add(file);
    for (const importer of importers.get(file) ?? []) add(importer);
  };
  for (const file of files) add(file);
  changes++;
  for (const file of affected) versions.set(file, changes);
  return affected;
}
