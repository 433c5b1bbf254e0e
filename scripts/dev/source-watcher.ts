/**
 * Tells which source files have changed in content. It watches directories and not files, because editors replace a
 * file by renaming another onto it, and each directory by itself, because Node's recursive watch loses such a file on
 * Linux. What is saved together, or in several writes, is told once.
 */
import { hash } from "node:crypto";
import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from "node:fs";
import path from "node:path";

/** Editors and formatters write within a few milliseconds of each other; nobody feels this. */
const QUIET_MS = 50;
const SOURCE = /\.(ts|sql)$/;

export interface SourceWatcher {
  close(): void;
}

/** `trees` are watched with all that is below them, `directories` alone. */
export function watchSources(
  { trees, directories }: { trees: readonly string[]; directories: readonly string[] },
  changed: (files: string[]) => void,
): SourceWatcher {
  const watchers = new Map<string, FSWatcher>();
  const known = new Map<string, string | undefined>();
  const touched = new Set<string>();
  let timer: NodeJS.Timeout | undefined;

  const settle = (): void => {
    const files = [...touched].filter((file) => {
      const content = contentOf(file);
      // Gone, or for a moment: an editor is about to put another in its place.
      if (content === undefined || known.get(file) === content) return false;
      known.set(file, content);
      return true;
    });
    touched.clear();
    if (files.length > 0) changed(files);
  };

  const add = (directory: string, isTree: boolean): void => {
    if (watchers.has(directory)) return;
    const watcher = watch(directory, (_event, name) => {
      if (name === null) return;
      const file = path.join(directory, name);
      if (SOURCE.test(name)) {
        touched.add(file);
        clearTimeout(timer);
        timer = setTimeout(settle, QUIET_MS);
      } else if (isTree && statSync(file, { throwIfNoEntry: false })?.isDirectory()) add(file, true);
    });
    // A directory that goes away, after a change of branch for one.
    watcher.on("error", () => undefined);
    watchers.set(directory, watcher);
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const file = path.join(directory, entry.name);
      if (entry.isDirectory() && isTree) add(file, true);
      else if (SOURCE.test(entry.name)) known.set(file, contentOf(file));
    }
  };
  for (const directory of directories) add(directory, false);
  for (const tree of trees) add(tree, true);

  return {
    close() {
      clearTimeout(timer);
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}

function contentOf(file: string): string | undefined {
  try {
    return hash("sha256", readFileSync(file));
  } catch {
    return undefined;
  }
}
