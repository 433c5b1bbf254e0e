/** The objects of one overlay with what rules ask of them: who selects whom, who runs what, which names exist. */
import type { KubernetesObject } from "./build.ts";
import { nameOf } from "./models.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape; the rules read what they know is there
type Any = any;

/** A pod template and the object it belongs to. */
export interface Workload {
  name: string;
  label: string;
  namespace: string;
  object: KubernetesObject;
  labels: Record<string, string>;
  pod: Any;
  containers: Any[];
  /** True for the shop's own nodes: probed, scraped, drained. */
  isNode: boolean;
  /** True for whatever runs our image. */
  isOurs: boolean;
}

export interface Scaler {
  label: string;
  namespace: string;
  target: string;
  min: number;
  max: number;
  object: KubernetesObject;
}

export class ResourceSet {
  readonly objects: readonly KubernetesObject[];
  readonly workloads: readonly Workload[];
  readonly scalers: readonly Scaler[];

  constructor(objects: readonly KubernetesObject[]) {
    this.objects = objects;
    this.workloads = objects
      .filter(({ kind }) => ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"].includes(kind))
      .map(workloadOf);
    this.scalers = objects.flatMap(scalersOf);
  }

  of(kind: string): KubernetesObject[] {
    return this.objects.filter((object) => object.kind === kind);
  }

  get nodes(): Workload[] {
    return this.workloads.filter(({ isNode }) => isNode);
  }

  find(kind: string, namespace: string | undefined, name: string): KubernetesObject | undefined {
    return this.of(kind).find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
  }

  /** The workloads whose pods a selector picks. */
  selected(namespace: string | undefined, selector: Any): Workload[] {
    return this.workloads.filter(
      (workload) => workload.namespace === namespace && matches(selector, workload.labels),
    );
  }

  /** How many pods there may be at once, rolling update apart. */
  replicasMax(workload: Workload): number {
    const scaler = this.scalers.find(
      ({ target, namespace }) => target === workload.name && namespace === workload.namespace,
    );
    return scaler?.max ?? workload.object.spec.replicas ?? 1;
  }

  replicasMin(workload: Workload): number {
    const scaler = this.scalers.find(
      ({ target, namespace }) => target === workload.name && namespace === workload.namespace,
    );
    return scaler?.min ?? workload.object.spec.replicas ?? 1;
  }

  /** The variables of a container as the kubelet would set them; values from secrets as undefined. */
  environment({ namespace }: Workload, container: Any): Map<string, string | undefined> {
    const variables = new Map<string, string | undefined>();
    for (const { configMapRef, secretRef } of container.envFrom ?? []) {
      const config = configMapRef && this.find("ConfigMap", namespace, configMapRef.name);
      for (const [name, value] of Object.entries(config?.data ?? {})) variables.set(name, value as string);
      if (secretRef)
        for (const name of this.secretKeys(namespace, secretRef.name) ?? []) variables.set(name, undefined);
    }
    for (const { name, value } of container.env ?? []) variables.set(name, value);
    return variables;
  }

  /** The keys of a Secret that is in the set or that External Secrets makes; undefined where there is none. */
  secretKeys(namespace: string, name: string): string[] | undefined {
    const secret = this.find("Secret", namespace, name);
    if (secret) return Object.keys({ ...secret.data, ...secret.stringData });
    const external = this.of("ExternalSecret").find(
      ({ metadata, spec }) =>
        metadata.namespace === namespace && (spec.target?.name ?? metadata.name) === name,
    );
    return external?.spec.data.map(({ secretKey }: { secretKey: string }) => secretKey);
  }
}

/** Does a selector (labels, or matchLabels with matchExpressions) pick these labels? An empty one picks all. */
export function matches(selector: Any, labels: Record<string, string>): boolean {
  const isPlain = !("matchLabels" in selector) && !("matchExpressions" in selector);
  const wanted: Record<string, string> = isPlain ? selector : (selector.matchLabels ?? {});
  return (
    Object.entries(wanted).every(([key, value]) => labels[key] === value) &&
    (isPlain ? [] : (selector.matchExpressions ?? [])).every(
      ({ key, operator, values = [] }: { key: string; operator: string; values?: string[] }) => {
        const value = labels[key];
        if (operator === "In") return value !== undefined && values.includes(value);
        if (operator === "NotIn") return value === undefined || !values.includes(value);
        return (operator === "Exists") === (value !== undefined);
      },
    )
  );
}

function workloadOf(object: KubernetesObject): Workload {
  const template = object.kind === "CronJob" ? object.spec.jobTemplate.spec.template : object.spec.template;
  const containers = [...(template.spec.initContainers ?? []), ...template.spec.containers];
  const labels = template.metadata?.labels ?? {};
  return {
    name: object.metadata.name,
    label: nameOf(object),
    namespace: object.metadata.namespace ?? "default",
    object,
    labels,
    pod: template.spec,
    containers,
    isNode: labels["app.kubernetes.io/component"] === "node",
    isOurs: containers.some(({ image }) => /(^|\/)concord[:@]/.test(image ?? "")),
  };
}

function scalersOf(object: KubernetesObject): Scaler[] {
  const common = { label: nameOf(object), namespace: object.metadata.namespace ?? "default", object };
  const { spec } = object;
  if (object.kind === "HorizontalPodAutoscaler")
    return [
      { ...common, target: spec.scaleTargetRef.name, min: spec.minReplicas ?? 1, max: spec.maxReplicas },
    ];
  if (object.kind === "ScaledObject")
    return [
      {
        ...common,
        target: spec.scaleTargetRef.name,
        min: spec.minReplicaCount ?? 0,
        max: spec.maxReplicaCount ?? 100,
      },
    ];
  return [];
}

/** `250m` and `2` as cores, `64Mi` as bytes. */
export function quantity(value: string | number): number {
  const [, number, unit = ""] = /^([\d.]+)([a-zA-Z]*)$/.exec(String(value)) ?? [];
  const factor = {
    "": 1,
    m: 1e-3,
    k: 1e3,
    M: 1e6,
    G: 1e9,
    Ki: 2 ** 10,
    Mi: 2 ** 20,
    Gi: 2 ** 30,
    Ti: 2 ** 40,
  }[unit];
  if (number === undefined || factor === undefined) throw new Error(`${value} is not a quantity`);
  return Number(number) * factor;
}
