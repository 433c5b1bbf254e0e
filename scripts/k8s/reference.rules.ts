/** Rules about names: what one object says of another must be there. */
import { nameOf } from "./models.ts";
import { matches, type ResourceSet, type Workload } from "./resource-set.ts";
import type { Rule } from "./rules.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape
type Any = any;

const portsOf = (workload: Workload): Any[] => workload.containers.flatMap(({ ports }) => ports ?? []);
const hasPort = (workload: Workload, port: string | number): boolean =>
  portsOf(workload).some(({ name, containerPort }) => name === port || containerPort === port);

export const REFERENCE_RULES: Readonly<Record<string, Rule>> = {
  "a selector picks somebody, and the right ones": (set) => [
    ...set.workloads.flatMap(({ label, labels, object }) =>
      object.spec.selector && !matches(object.spec.selector, labels)
        ? [`${label} does not select its own pods`]
        : [],
    ),
    ...set.workloads.flatMap((one) =>
      set.workloads
        .filter((other) => other !== one && other.namespace === one.namespace && one.object.spec.selector)
        .filter((other) => matches(one.object.spec.selector, other.labels))
        .map((other) => `${one.label} selects the pods of ${other.label}`),
    ),
    ...[...set.of("Service"), ...set.of("PodDisruptionBudget")].flatMap((object) =>
      set.selected(object.metadata.namespace, object.spec.selector).length === 0
        ? [`${nameOf(object)} selects no pod`]
        : [],
    ),
    ...set
      .of("NetworkPolicy")
      .flatMap((object) =>
        set.selected(object.metadata.namespace, object.spec.podSelector).length === 0
          ? [`${nameOf(object)} selects no pod`]
          : [],
      ),
    ...set
      .of("ServiceMonitor")
      .flatMap((object) =>
        monitored(set, object).length === 0 ? [`${nameOf(object)} selects no Service`] : [],
      ),
  ],

  "a port that is named exists": (set) => [
    ...set
      .of("Service")
      .flatMap((service) =>
        set
          .selected(service.metadata.namespace, service.spec.selector)
          .flatMap((workload) =>
            service.spec.ports
              .filter(({ port, targetPort }: Any) => !hasPort(workload, targetPort ?? port))
              .map(
                ({ port, targetPort }: Any) =>
                  `${nameOf(service)}: ${workload.label} has no port ${targetPort ?? port}`,
              ),
          ),
      ),
    ...set.workloads.flatMap((workload) =>
      workload.containers.flatMap((container) =>
        ["startupProbe", "readinessProbe", "livenessProbe"].flatMap((probe) => {
          const { httpGet, tcpSocket, grpc } = container[probe] ?? {};
          const port = (httpGet ?? tcpSocket ?? grpc)?.port;
          return port === undefined || hasPort(workload, port)
            ? []
            : [`${workload.label}: ${probe} asks port ${port}`];
        }),
      ),
    ),
    ...set.of("ServiceMonitor").flatMap((monitor) =>
      monitor.spec.endpoints.flatMap(({ port }: Any) =>
        monitored(set, monitor)
          .filter((service) => !service.spec.ports.some(({ name }: Any) => name === port))
          .map((service) => `${nameOf(monitor)}: ${nameOf(service)} has no port ${port}`),
      ),
    ),
    ...set.of("Ingress").flatMap((ingress) =>
      ingress.spec.rules.flatMap(({ http }: Any) =>
        http.paths.flatMap(({ backend }: Any) => {
          const service = set.find("Service", ingress.metadata.namespace, backend.service.name);
          if (!service) return [`${nameOf(ingress)}: there is no Service ${backend.service.name}`];
          const { name, number } = backend.service.port;
          const isThere = service.spec.ports.some((port: Any) =>
            name ? port.name === name : port.port === number,
          );
          return isThere ? [] : [`${nameOf(ingress)}: ${nameOf(service)} has no port ${name ?? number}`];
        }),
      ),
    ),
    ...set.of("NetworkPolicy").flatMap((policy) =>
      set
        .selected(policy.metadata.namespace, policy.spec.podSelector)
        .map((workload) => [policy, workload] as const)
        .reduce<string[]>((faults, [{ spec }], _i, pairs) => {
          const workloads = pairs.map(([, workload]) => workload);
          for (const { port } of (spec.ingress ?? []).flatMap(({ ports }: Any) => ports ?? []))
            if (!workloads.some((workload) => hasPort(workload, port)))
              faults.push(`${nameOf(policy)}: nobody it selects has port ${port}`);
          return [...new Set(faults)];
        }, []),
    ),
  ],

  "a ConfigMap, Secret, account or volume that is named exists": (set) => [
    ...set.workloads.flatMap((workload) => references(set, workload)),
    ...set.of("Ingress").flatMap((ingress) =>
      (ingress.spec.tls ?? [])
        .filter(({ secretName }: Any) => !set.secretKeys(ingress.metadata.namespace as string, secretName))
        .filter(() => !ingress.metadata.annotations?.["cert-manager.io/cluster-issuer"])
        .map(({ secretName }: Any) => `${nameOf(ingress)}: nobody makes Secret ${secretName}`),
    ),
    ...set
      .of("Cluster")
      .flatMap(({ metadata, spec }) =>
        [
          spec.bootstrap?.initdb?.secret,
          ...(spec.managed?.roles ?? []).map(({ passwordSecret }: Any) => passwordSecret),
        ]
          .filter((secret) => secret && !set.secretKeys(metadata.namespace as string, secret.name))
          .map((secret) => `Cluster ${metadata.name}: there is no Secret ${secret.name}`),
      ),
    ...set
      .of("KafkaTopic")
      .filter(
        ({ metadata }) =>
          !set.find("Kafka", metadata.namespace, metadata.labels?.["strimzi.io/cluster"] ?? ""),
      )
      .map((topic) => `${nameOf(topic)} belongs to no Kafka here`),
  ],

  "every object is in a namespace that is there": (set) => {
    const namespaces = set.of("Namespace").map(({ metadata }) => metadata.name);
    return set.objects
      .filter(({ kind, metadata }) => kind !== "Namespace" && !namespaces.includes(metadata.namespace ?? ""))
      .map((object) => `${nameOf(object)} is in ${object.metadata.namespace ?? "no namespace"}`);
  },
};

const monitored = (set: ResourceSet, { metadata, spec }: Any): Any[] =>
  set
    .of("Service")
    .filter((service) => service.metadata.namespace === metadata.namespace)
    .filter((service) => matches(spec.selector, service.metadata.labels ?? {}));

function references(set: ResourceSet, workload: Workload): string[] {
  const { label, namespace, pod, containers, object } = workload;
  const faults: string[] = [];
  const miss = (what: string) => faults.push(`${label}: there is no ${what}`);
  const account = pod.serviceAccountName;
  if (account && !set.find("ServiceAccount", namespace, account)) miss(`ServiceAccount ${account}`);
  const volumes = [
    ...(pod.volumes ?? []),
    ...(object.spec.volumeClaimTemplates ?? []).map(({ metadata }: Any) => metadata),
  ];
  for (const { configMap, secret } of pod.volumes ?? []) {
    if (configMap && !set.find("ConfigMap", namespace, configMap.name)) miss(`ConfigMap ${configMap.name}`);
    if (secret && !set.secretKeys(namespace, secret.secretName)) miss(`Secret ${secret.secretName}`);
  }
  for (const { env = [], envFrom = [], volumeMounts = [] } of containers) {
    for (const { configMapRef, secretRef } of envFrom) {
      if (configMapRef && !set.find("ConfigMap", namespace, configMapRef.name))
        miss(`ConfigMap ${configMapRef.name}`);
      if (secretRef && !set.secretKeys(namespace, secretRef.name)) miss(`Secret ${secretRef.name}`);
    }
    for (const { valueFrom } of env) {
      const { configMapKeyRef: config, secretKeyRef: secret } = valueFrom ?? {};
      if (config && !(config.key in (set.find("ConfigMap", namespace, config.name)?.data ?? {})))
        miss(`key ${config.key} in ConfigMap ${config.name}`);
      if (secret && !set.secretKeys(namespace, secret.name)?.includes(secret.key))
        miss(`key ${secret.key} in Secret ${secret.name}`);
    }
    for (const { name } of volumeMounts)
      if (!volumes.some((volume) => volume.name === name)) miss(`volume ${name}`);
  }
  return faults;
}
