/**
 * The import law: lib ← config ← actors (mailbox, supervisor, protocol) ← proto ← mixins ← services and the transaction
 * manager. A layer imports itself and what is to its left; services know of each other only the types of `api.ts`.
 * The environment is read in config/ and by programs; a file stays under 400 lines.
 */
import path from "node:path";

export interface SourceFile {
  /** From the root, with slashes. */
  path: string;
  text: string;
}

const LINES_MAX = 400;
const LAYERS = ["lib", "config", "actors", "proto", "mixins", "services"] as const;
type Layer = (typeof LAYERS)[number];

// Programs, examples and tests stand above the law: they may import everything and read the environment.
const READS_ENVIRONMENT = /^(config|scripts|bench|test|examples)\//;

/** One line per violation: `file:line: what is wrong`. */
export function violations(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) => [...tooLong(file), ...environment(file), ...imports(file)]);
}

function tooLong({ path: name, text }: SourceFile): string[] {
  const lines = text.replace(/\n$/, "").split("\n").length;
  return lines >= LINES_MAX ? [`${name}:${lines}: ${lines} lines; split it before ${LINES_MAX}`] : [];
}

function environment({ path: name, text }: SourceFile): string[] {
  if (READS_ENVIRONMENT.test(name)) return [];
  return matches(code(text), /process\s*\.\s*env|\benv\b[^;"']*from\s+["'](?:node:)?process["']/g).map(
    ({ line }) => `${name}:${line}: reads process.env; only config/ does`,
  );
}

function imports(file: SourceFile): string[] {
  const from = placeOf(file.path);
  if (!from) return [];
  return importsOf(file).flatMap(({ line, target, typeOnly }) => {
    const broken = judge(from, target, typeOnly);
    return broken ? [`${file.path}:${line}: imports ${target}: ${broken}`] : [];
  });
}

function judge(from: Place, target: string, typeOnly: boolean): string | undefined {
  const to = placeOf(target);
  if (!to) return `outside ${LAYERS.join(", ")}`;
  if (LAYERS.indexOf(to.layer) > LAYERS.indexOf(from.layer)) return `${from.layer} may not know ${to.layer}`;
  if (to.layer !== "services" || to.unit === from.unit) return undefined;
  if (path.posix.basename(target) !== "api.ts") return `of another service only api.ts may be imported`;
  return typeOnly ? undefined : "of another service only types may be imported (import type)";
}

interface Place {
  layer: Layer;
  /** The service, where the layer is services. */
  unit: string;
}

/** The transaction manager lies among the actors and is a service. Undefined outside the law. */
function placeOf(file: string): Place | undefined {
  const [layer = "", unit = ""] = file.split("/");
  if (layer === "actors" && unit === "transaction-manager") return { layer: "services", unit };
  return (LAYERS as readonly string[]).includes(layer) ? { layer: layer as Layer, unit } : undefined;
}

interface Import {
  line: number;
  target: string;
  typeOnly: boolean;
}

const STATEMENT = /^[ \t]*(?:import|export)\s+(type\b(?!\s+from\b))?[^;"'`]*?from\s*["'](\.[^"']*)["']/gm;
const BARE_OR_DYNAMIC = /\bimport\s*\(?\s*["'`](\.[^"'`]*)["'`]/g;
const BY_URL = /new URL\(\s*["'`](\.[^"'`]*\.ts)["'`]/g;

/** Relative imports of every form, targets from the root. */
function importsOf({ path: name, text }: SourceFile): Import[] {
  const source = code(text);
  const resolve = (target: string) => path.posix.join(path.posix.dirname(name), target);
  return [
    ...matches(source, STATEMENT).map(({ line, groups: [type, target = ""] }) => ({
      line,
      target: resolve(target),
      typeOnly: type !== undefined,
    })),
    ...[BARE_OR_DYNAMIC, BY_URL].flatMap((pattern) =>
      matches(source, pattern).map(({ line, groups: [target = ""] }) => ({
        line,
        target: resolve(target),
        typeOnly: false,
      })),
    ),
  ];
}

function matches(text: string, pattern: RegExp): { line: number; groups: (string | undefined)[] }[] {
  return [...text.matchAll(pattern)].map((match) => ({
    // Of the match's end: an import over several lines is found by its last.
    line: text.slice(0, match.index + match[0].length).split("\n").length,
    groups: match.slice(1),
  }));
}

/** The text with its comments blanked, line breaks kept. */
function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|(?<![:"'`\\\w])\/\/[^\n]*/g, (comment) =>
    comment.replace(/[^\n]/g, " "),
  );
}
