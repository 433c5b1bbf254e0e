/** Rules about what a pod may do, and whom it may speak to. */
import { nameOf } from "./models.ts";
import { matches, type ResourceSet, type Workload } from "./resource-set.ts";
import type { Rule } from "./rules.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape
type Any = any;

export const SECURITY_RULES: Readonly<Record<string, Rule>> = {
  "a pod is restricted, and a node of ours cannot write": (set) => [
    ...set
      .of("Namespace")
      .filter(({ metadata }) => metadata.labels?.["pod-security.kubernetes.io/enforce"] !== "restricted")
      .map((namespace) => `${nameOf(namespace)} does not enforce restricted pods`),
    ...set.workloads.flatMap(({ label, pod, containers, isOurs }) => {
      const own = pod.securityContext ?? {};
      return [
        own.runAsNonRoot !== true && "may run as root",
        !own.runAsUser && "does not say as which user it runs",
        own.seccompProfile?.type !== "RuntimeDefault" && "has no seccomp profile",
        pod.automountServiceAccountToken !== false && "is handed a token of the API server",
        pod.enableServiceLinks !== false && "is handed a variable for each Service",
        (pod.hostNetwork || pod.hostPID || pod.hostIPC) && "sees its host",
        (pod.volumes ?? []).some(({ hostPath }: Any) => hostPath) && "mounts a path of its host",
        containers.some(({ securityContext: s }) => s?.allowPrivilegeEscalation !== false) &&
          "may gain privileges",
        containers.some(({ securityContext: s }) => !s?.capabilities?.drop?.includes("ALL")) &&
          "keeps capabilities",
        containers.some(({ securityContext: s }) => s?.privileged) && "is privileged",
        isOurs &&
          containers.some(({ securityContext: s }) => !s?.readOnlyRootFilesystem) &&
          "can write its own files",
        isOurs && !pod.serviceAccountName && "has no service account of its own",
      ]
        .filter((fault) => typeof fault === "string")
        .map((fault) => `${label} ${fault}`);
    }),
  ],

  "nothing speaks but where a policy says so": (set) =>
    [...new Set(set.nodes.map(({ namespace }) => namespace))]
      .filter(
        (namespace) =>
          !set
            .of("NetworkPolicy")
            .some(
              ({ metadata, spec }) =>
                metadata.namespace === namespace &&
                Object.keys(spec.podSelector).length === 0 &&
                !spec.ingress &&
                !spec.egress &&
                ["Ingress", "Egress"].every((type) => spec.policyTypes?.includes(type)),
            ),
      )
      .map((namespace) => `${namespace} has no policy that denies by default`),

  "what a node needs, it may reach": (set) =>
    set.workloads
      .filter(({ isOurs }) => isOurs)
      .flatMap((workload) =>
        workload.containers.flatMap((container) =>
          serversOf(set.environment(workload, container), workload).flatMap(([variable, host, port]) =>
            reach(set, workload, host, port).map(
              (fault) => `${workload.label}: ${variable} is ${host}:${port}, ${fault}`,
            ),
          ),
        ),
      ),
};

/** The servers that plain variables name; those in secrets are nobody's to read. The migrations need the database only. */
function serversOf(
  environment: Map<string, string | undefined>,
  { isNode }: Workload,
): [string, string, number][] {
  const servers: [string, string, number][] = [];
  for (const [name, value] of environment) {
    if (!value || !isNode || (name === "SMTP_URL" && !environment.get("SERVICES")?.includes("notification")))
      continue;
    if (["TRANSPORTER", "CACHER", "SMTP_URL"].includes(name) && URL.canParse(value)) {
      const { hostname, port } = new URL(value);
      servers.push([name, hostname, Number(port)]);
    } else if (name === "KAFKA_BROKERS") {
      for (const broker of value.split(",")) {
        const [host = "", port] = broker.split(":");
        servers.push([name, host, Number(port)]);
      }
    }
  }
  return servers;
}

/** What operators and charts make, as names in the set's namespaces. */
function isMadeByOthers(set: ResourceSet, name: string, namespace: string): boolean {
  if (!set.of("Namespace").some(({ metadata }) => metadata.name === namespace)) return false;
  const kafka = /^(.+)-kafka-bootstrap$/.exec(name)?.[1];
  if (kafka) return set.find("Kafka", namespace, kafka) !== undefined;
  // The NATS chart's release: docs/operations.md.
  return name === "nats" && set.of("Kafka").length > 0;
}

function reach(set: ResourceSet, from: Workload, host: string, port: number): string[] {
  const [name = "", namespace = from.namespace] = host.split(".");
  const service = set.find("Service", namespace, name);
  if (!service && !isMadeByOthers(set, name, namespace)) return ["and there is no such Service"];
  if (service && !service.spec.ports.some((each: Any) => each.port === port))
    return [`and ${nameOf(service)} has no such port`];
  const target = service && set.selected(namespace, service.spec.selector)[0];
  const isOpen = (
    policies: Any[],
    side: "egress" | "ingress",
    peerKey: "to" | "from",
    labels: Any,
    peerNamespace: string,
    own: string,
  ) =>
    policies.some(({ spec }) =>
      (spec[side] ?? []).some(
        (line: Any) =>
          (line.ports ?? [{ port }]).some((each: Any) => each.port === port) &&
          (line[peerKey] ?? [{}]).some(
            ({ podSelector, namespaceSelector }: Any) =>
              (namespaceSelector
                ? matches(namespaceSelector, { "kubernetes.io/metadata.name": peerNamespace })
                : peerNamespace === own) &&
              (!podSelector || (labels && matches(podSelector, labels))),
          ),
      ),
    );
  const policiesOf = (workload: Workload) =>
    set
      .of("NetworkPolicy")
      .filter(({ metadata, spec }) => set.selected(metadata.namespace, spec.podSelector).includes(workload));
  const faults: string[] = [];
  if (!isOpen(policiesOf(from), "egress", "to", target?.labels, namespace, from.namespace))
    faults.push("and no policy lets it out");
  const own = target ? policiesOf(target) : [];
  if (own.length > 0 && target && !isOpen(own, "ingress", "from", from.labels, from.namespace, namespace))
    faults.push("and no policy lets it in there");
  return faults;
}
