/** Rules about what runs: images, probes, stopping, rolling over, what each node hosts and is told. */
import { SERVICES } from "../../config/index.ts";
import { STOP_MS_MAX } from "../../lib/stop.ts";
import { read } from "./build.ts";
import type { ResourceSet, Workload } from "./resource-set.ts";
import type { Rule } from "./rules.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape
type Any = any;

/** What config/ reads, and what parts that are configured beside it read. */
const VARIABLES = new Set([
  ...[...read(".env.example").matchAll(/^([A-Z][A-Z0-9_]*)=/gm)].map((match) => match[1] as string),
  ...["CACHER", "KAFKA_BROKERS", "GRPC_PORT"],
]);

const STOP_SECONDS_MAX = STOP_MS_MAX / 1_000;
/** Between the last line of the log and the kubelet's noticing. */
const SPARE_SECONDS = 5;

const perNode =
  (faultsOf: (node: Workload, container: Any, set: ResourceSet) => (string | false | undefined)[]): Rule =>
  (set) =>
    set.nodes.flatMap((node) =>
      node.containers.flatMap((container) =>
        faultsOf(node, container, set)
          .filter((fault) => typeof fault === "string")
          .map((fault) => `${node.label} ${fault}`),
      ),
    );

export const WORKLOAD_RULES: Readonly<Record<string, Rule>> = {
  "an image says which version it is": (set) =>
    set.workloads.flatMap(({ label, containers }) =>
      containers
        .filter(({ image }) => !/(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$/.test(image ?? ""))
        .map(({ image }) => `${label} runs ${image}`),
    ),

  "probes ask what they mean": perNode((_node, { startupProbe, readinessProbe, livenessProbe }) => {
    const path = (probe: Any) => probe?.httpGet?.path;
    const patience = (probe: Any) => (probe?.periodSeconds ?? 10) * (probe?.failureThreshold ?? 3);
    return [
      path(startupProbe) !== "/health/live" && "must be given time to start by /health/live",
      path(readinessProbe) !== "/health/ready" && "must be sent requests by /health/ready only",
      path(livenessProbe) !== "/health/live" &&
        "must be restarted by /health/live only: a database that is away is no reason",
      patience(startupProbe) < 30 && `has only ${patience(startupProbe)} s to start`,
      patience(livenessProbe) < 30 && `is restarted after ${patience(livenessProbe)} s of a busy event loop`,
      patience(readinessProbe) > 15 &&
        `is sent requests for ${patience(readinessProbe)} s after it cannot answer`,
    ];
  }),

  "a stop has the time it needs": perNode(({ pod }, { lifecycle }) => {
    const preStop = lifecycle?.preStop?.sleep?.seconds ?? 0;
    const needed = preStop + STOP_SECONDS_MAX + SPARE_SECONDS;
    const grace = pod.terminationGracePeriodSeconds ?? 30;
    return [
      grace < needed &&
        `is killed after ${grace} s: ${preStop} (preStop) + ${STOP_SECONDS_MAX} (drain) + ${SPARE_SECONDS} = ${needed}`,
      preStop < 3 &&
        `stops ${preStop} s after its end is known; endpoints and ingress need a few seconds to hear of it`,
    ];
  }),

  "a rolling update loses nobody": perNode(({ object }) => {
    const { strategy, minReadySeconds = 0 } = object.spec;
    return [
      (strategy?.type ?? "RollingUpdate") !== "RollingUpdate" && `is replaced by ${strategy.type}`,
      strategy?.rollingUpdate?.maxUnavailable !== 0 && "may lose a replica before its successor is there",
      !strategy?.rollingUpdate?.maxSurge && "has no room for a successor",
      minReadySeconds < 1 && "goes on to the next replica before the others have seen the new one",
    ];
  }),

  "a node says who it is and nothing that nobody reads": perNode((node, container, set) => {
    const nodeId = container.env?.find(({ name }: Any) => name === "NODEID");
    const environment = set.environment(node, container);
    return [
      nodeId?.valueFrom?.fieldRef?.fieldPath !== "metadata.name" && "must take NODEID from its pod's name",
      !environment.has("DATABASE_URL") && node.name !== "gateway" && "is told of no database",
      !environment.get("TRANSPORTER") && "is told of no message server, so it would be a shop of its own",
      ...[...environment.keys()]
        .filter((name) => !VARIABLES.has(name))
        .map((name) => `is told ${name}, which nothing reads (see .env.example)`),
    ];
  }),

  "every service is hosted, and none that does not exist": (set) => {
    const hosted = set.nodes.flatMap((node) =>
      node.containers.flatMap(({ env = [] }) =>
        (env.find(({ name }: Any) => name === "SERVICES")?.value ?? "").split(",").filter(Boolean),
      ),
    );
    return [
      ...SERVICES.filter((name) => !hosted.includes(name)).map((name) => `nobody hosts ${name}`),
      ...hosted
        .filter((name) => !(SERVICES as readonly string[]).includes(name))
        .map((name) => `${name} is no service`),
    ];
  },

  "databases are migrated by a Job": (set) =>
    set.workloads.some(
      ({ object, containers }) =>
        object.kind === "Job" &&
        containers.some(({ command }) => command?.join(" ") === "node scripts/migrate.ts"),
    )
      ? []
      : ["no Job runs node scripts/migrate.ts"],

  "replicas are spread, and survive the loss of a machine": (set) =>
    set.nodes.flatMap((node) => {
      const budgets = set
        .of("PodDisruptionBudget")
        .filter(({ metadata, spec }) => set.selected(metadata.namespace, spec.selector).includes(node));
      const spread: Any[] = node.pod.topologySpreadConstraints ?? [];
      const least = set.replicasMin(node);
      return [
        least < 2 && `has ${least} replica at times`,
        budgets.length !== 1 && `has ${budgets.length} PodDisruptionBudgets`,
        budgets.some(({ spec }) => (spec.minAvailable ?? 0) >= least || spec.maxUnavailable === 0) &&
          "cannot be moved: its PodDisruptionBudget never allows it",
        !["kubernetes.io/hostname", "topology.kubernetes.io/zone"].every((key) =>
          spread.some(
            ({ topologyKey, labelSelector }) =>
              topologyKey === key &&
              labelSelector?.matchLabels?.["app.kubernetes.io/name"] ===
                node.labels["app.kubernetes.io/name"],
          ),
        ) && "is not spread over hosts and zones by its own label",
      ]
        .filter((fault) => typeof fault === "string")
        .map((fault) => `${node.label} ${fault}`);
    }),
};
