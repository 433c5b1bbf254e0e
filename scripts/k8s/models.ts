/**
 * Holds objects against the models of Kubernetes and of the operators' resources. The models' own validators check
 * what is there (types, formats, required fields); the compiler, given each object as a literal of its type, finds
 * what must not be there at any depth, which the validators and a lenient API server let pass.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { KubernetesObject } from "./build.ts";
import { ROOT } from "./build.ts";

/** Where the models of an API group are, first match first. */
const PACKAGES: readonly [RegExp, string][] = [
  [/^keda\.sh\//, "@kubernetes-models/keda"],
  [/^monitoring\.coreos\.com\//, "@kubernetes-models/prometheus-operator"],
  [/^external-secrets\.io\//, "@kubernetes-models/external-secrets"],
  [/^(v1|(apps|autoscaling|batch|policy|[a-z.]+\.k8s\.io)\/\w+)$/, "kubernetes-models"],
];
/** Types in crds.ts. */
const OWN = /^(kafka\.strimzi\.io|postgresql\.cnpg\.io)\//;

export const nameOf = ({ kind, metadata }: KubernetesObject): string =>
  `${kind} ${metadata.namespace ? `${metadata.namespace}/` : ""}${metadata.name}`;

/** One line per fault; `labels` name the objects where kind and name do not tell them apart. */
export async function modelFaults(
  objects: readonly KubernetesObject[],
  labels: readonly string[] = objects.map(nameOf),
): Promise<string[]> {
  const faults: string[] = [];
  const typed: [number, string][] = [];
  for (const [i, object] of objects.entries()) {
    const module = moduleOf(object);
    if (module === undefined) {
      faults.push(`${labels[i]}: there is no model of ${object.apiVersion} ${object.kind}`);
      continue;
    }
    typed.push([i, module]);
    if (module.startsWith("./")) continue;
    const model = (await import(module).catch(() => ({}))) as Record<
      string,
      new (
        data: object,
      ) => { validate(): void }
    >;
    const Model = model[object.kind];
    if (!Model) {
      faults.push(`${labels[i]}: ${object.apiVersion} has no ${object.kind}`);
      typed.pop();
      continue;
    }
    try {
      new Model(object).validate();
    } catch (err) {
      faults.push(`${labels[i]}: ${(err as Error).message}`);
    }
  }
  return [...faults, ...unknownFields(objects, labels, typed)];
}

function moduleOf({ apiVersion, kind }: KubernetesObject): string | undefined {
  if (OWN.test(apiVersion)) return "./crds.ts";
  const from = PACKAGES.find(([group]) => group.test(apiVersion))?.[1];
  return from && `${from}/${apiVersion}/${kind}`;
}

/** Writes every object as a constant of its type, and lets the compiler read it. */
function unknownFields(
  objects: readonly KubernetesObject[],
  labels: readonly string[],
  typed: readonly [number, string][],
): string[] {
  const lines: string[] = [];
  const owners: number[] = [];
  for (const [i, module] of typed) {
    const object = objects[i] as KubernetesObject;
    const type = module.startsWith("./") ? object.kind : `I${object.kind}`;
    const literal = JSON.stringify(object, null, 1).split("\n");
    for (const line of [
      `import type { ${type} as T${i} } from "${module}";`,
      `export const o${i}: T${i} = ${literal[0]}`,
      ...literal.slice(1),
    ]) {
      lines.push(line);
      owners.push(i);
    }
  }
  const directory = mkdtempSync(path.join(tmpdir(), "shop-k8s-types-"));
  try {
    symlinkSync(path.join(ROOT, "node_modules"), path.join(directory, "node_modules"));
    symlinkSync(path.join(ROOT, "scripts/k8s/crds.ts"), path.join(directory, "crds.ts"));
    writeFileSync(path.join(directory, "package.json"), '{"type":"module"}');
    writeFileSync(path.join(directory, "objects.ts"), lines.join("\n"));
    const flags = [
      "--noEmit",
      "--strict",
      "--skipLibCheck",
      "--allowImportingTsExtensions",
      "--pretty",
      "false",
    ];
    const tsc = path.join(ROOT, "node_modules/typescript/bin/tsc");
    const { stdout, error } = spawnSync(
      process.execPath,
      [tsc, ...flags, "--target", "es2024", "--module", "nodenext", "--types", "", "objects.ts"],
      { cwd: directory, encoding: "utf8" },
    );
    if (error) throw error;
    // Indented lines explain the one above them.
    return stdout.split("\n").flatMap((line) => {
      const [, number, message] = /^objects\.ts\((\d+),\d+\): error TS\d+: (.*)$/.exec(line) ?? [];
      if (number === undefined) return line === "" || line.startsWith(" ") ? [] : [line];
      const at = Number(number) - 1;
      return [`${labels[owners[at] as number]}: ${(lines[at] as string).trim()}: ${message}`];
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}
