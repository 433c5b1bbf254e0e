/**
 * Builds an overlay of k8s/ into plain objects with kustomize, as kubectl or by itself. Where secrets are read from
 * files that git ignores, a copy with made-up ones is built, so that nobody needs a secret to check a manifest.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { exampleSecrets } from "../secrets/secrets.ts";

export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape; the rules read what they know is there
  [field: string]: any;
}

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export const overlays = (): string[] => readdirSync(path.join(ROOT, "k8s/overlays")).sort();

/** Throws with what kustomize says, or with how to get it. */
export function build(overlay: string): KubernetesObject[] {
  const [program, ...args] = kustomize();
  const copy = mkdtempSync(path.join(tmpdir(), "shop-k8s-"));
  try {
    cpSync(path.join(ROOT, "k8s"), copy, { recursive: true });
    for (const [file, text] of exampleSecrets())
      writeFileSync(path.join(copy, path.relative("k8s", file)), text);
    const { status, stdout, stderr } = spawnSync(program, [...args, path.join(copy, "overlays", overlay)], {
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    });
    if (status !== 0) throw new Error(`k8s/overlays/${overlay} cannot be built: ${stderr.trim()}`);
    return parseAllDocuments(stdout).map((document) => unfolded(document.toJS() as KubernetesObject));
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/** kustomize breaks long base64 into lines, which Kubernetes ignores and a format check does not. */
function unfolded(object: KubernetesObject): KubernetesObject {
  if (object.kind === "Secret")
    for (const [key, value] of Object.entries(object.data ?? {}))
      object.data[key] = String(value).replace(/\s/g, "");
  return object;
}

let found: [string, ...string[]] | undefined;

function kustomize(): [string, ...string[]] {
  const candidates: [string, ...string[]][] = [
    ["kubectl", "kustomize"],
    ["kustomize", "build"],
  ];
  found ??= candidates.find(
    ([program, command]) => spawnSync(program, [command as string, "--help"]).status === 0,
  );
  if (found) return found;
  throw new Error(
    "neither kubectl nor kustomize is on the PATH. Install one: https://kubernetes.io/docs/tasks/tools (kubectl), or with Go: " +
      "go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1, and put $(go env GOPATH)/bin on the PATH",
  );
}

export const read = (file: string): string => readFileSync(path.join(ROOT, file), "utf8");
