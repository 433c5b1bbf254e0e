/** Rules of arithmetic: what may be asked for at once fits what is there. */
import { DATABASES, loadConfig } from "../../config/index.ts";
import { nameOf } from "./models.ts";
import { quantity, type ResourceSet, type Workload } from "./resource-set.ts";
import type { Rule } from "./rules.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape
type Any = any;

/** For the migrations of starting nodes, an audit, operators, and what PostgreSQL keeps for superusers. */
const CONNECTIONS_SPARE = 30;

export const CAPACITY_RULES: Readonly<Record<string, Rule>> = {
  "every container says what it needs and what it may take": (set) =>
    set.workloads.flatMap(({ label, containers }) =>
      containers.flatMap(({ name, resources = {} }) => {
        const { requests = {}, limits = {} } = resources;
        const missing = ["cpu", "memory"].flatMap((resource) => [
          ...(requests[resource] ? [] : [`requests no ${resource}`]),
          ...(limits[resource] ? [] : [`has no limit of ${resource}`]),
        ]);
        const above = ["cpu", "memory"]
          .filter((key) => requests[key] && limits[key] && quantity(requests[key]) > quantity(limits[key]))
          .map((key) => `requests ${requests[key]} of ${key} and may take ${limits[key]}`);
        return [...missing, ...above].map((fault) => `${label}: ${name} ${fault}`);
      }),
    ),

  "one scaler per workload, from few to more": (set) => [
    ...set.scalers.flatMap(({ label, namespace, target, min, max }) => [
      ...(min > max ? [`${label} wants at least ${min} and at most ${max}`] : []),
      ...(min < 1 ? [`${label} may scale to none, which hosts nothing`] : []),
      ...(set.workloads.some(({ name, namespace: own }) => name === target && own === namespace)
        ? []
        : [`${label} scales ${target}, which is not there`]),
    ]),
    ...set.nodes.flatMap((node) => {
      const own = set.scalers.filter(
        ({ target, namespace }) => target === node.name && namespace === node.namespace,
      );
      return [
        ...(own.length > 1
          ? [`${node.label} is pulled by ${own.map(({ label }) => label).join(" and ")}`]
          : []),
        ...(own.length === 0 ? [`${node.label} has no scaler`] : []),
        ...(own.length > 0 && node.object.spec.replicas !== undefined
          ? [`${node.label} sets replicas, which undoes its scaler at each apply`]
          : []),
      ];
    }),
  ],

  "all connections fit the server": (set) => {
    const { sum, limit, line } = connections(set);
    if (limit === undefined) return ["no server says its max_connections"];
    return sum > limit ? [line] : [];
  },

  "no consumer is without a partition": (set) =>
    set.scalers.flatMap(({ label, max, object }) =>
      (object.spec.triggers ?? [])
        .filter(({ type }: Any) => type === "kafka")
        .flatMap(({ metadata }: Any) => {
          const partitions = partitionsOf(set, metadata.topic);
          if (partitions === undefined) return [`${label}: nobody declares the topic ${metadata.topic}`];
          return partitions < max
            ? [`${label}: ${max} replicas, and ${metadata.topic} has ${partitions} partitions`]
            : [];
        }),
    ),

  "an acknowledged commit survives the loss of its server": (set) => [
    ...set.of("Cluster").flatMap((cluster) => {
      const { instances, postgresql } = cluster.spec;
      const off = Object.entries(postgresql?.parameters ?? {}).filter(
        ([name, value]) =>
          ["fsync", "full_page_writes", "synchronous_commit"].includes(name) && value !== "on",
      );
      return [
        ...off.map(([name, value]) => `${nameOf(cluster)} has ${name} ${value}`),
        ...(instances > 1 && postgresql?.synchronous?.dataDurability !== "required"
          ? [`${nameOf(cluster)} may fail over to an instance that lacks a commit`]
          : []),
      ];
    }),
    ...set.of("KafkaTopic").flatMap((topic) => {
      const inSync = Number(topic.spec.config?.["min.insync.replicas"] ?? 1);
      const { replicas } = topic.spec;
      return replicas > inSync && inSync > 1
        ? []
        : [`${nameOf(topic)} has ${replicas} replicas, ${inSync} of them in sync`];
    }),
  ],
};

/** What all nodes may hold at once, and what the server takes. */
export function connections(set: ResourceSet): { sum: number; limit: number | undefined; line: string } {
  const wanted = set.nodes.map((node) => [node.name, connectionsOf(set, node)] as const);
  const sum = wanted.reduce((total, [, some]) => total + some, 0) + CONNECTIONS_SPARE;
  const limit = connectionsMax(set);
  const detail = wanted.map(([name, some]) => `${name} ${some}`).join(" + ");
  return { sum, limit, line: `${detail} + ${CONNECTIONS_SPARE} to spare = ${sum} connections of ${limit}` };
}

/** Connections that a workload's pods may hold while it rolls over. */
function connectionsOf(set: ResourceSet, node: Workload): number {
  const environment = set.environment(node, node.containers[0]);
  const services = environment.get("SERVICES")?.split(",") ?? [];
  const databases = DATABASES.filter((name) => services.includes(name)).length;
  const { databasePoolMax } = loadConfig({ DATABASE_POOL_MAX: environment.get("DATABASE_POOL_MAX") });
  const surge = Number(node.object.spec.strategy?.rollingUpdate?.maxSurge ?? 1);
  return (set.replicasMax(node) + surge) * databases * databasePoolMax;
}

function connectionsMax(set: ResourceSet): number | undefined {
  const cluster = set.of("Cluster")[0]?.spec.postgresql?.parameters?.max_connections;
  const argument = set.workloads
    .flatMap(({ containers }) => containers.flatMap(({ args = [] }) => args as string[]))
    .map((each) => /^max_connections=(\d+)$/.exec(each)?.[1])
    .find(Boolean);
  const value = cluster ?? argument;
  return value === undefined ? undefined : Number(value);
}

function partitionsOf(set: ResourceSet, topic: string): number | undefined {
  const declared = set
    .of("KafkaTopic")
    .find(({ metadata, spec }) => (spec.topicName ?? metadata.name) === topic);
  if (declared) return declared.spec.partitions;
  // Whoever starts first makes it.
  const partitions = set.nodes.map((node) =>
    set.environment(node, node.containers[0]).get("KAFKA_PARTITIONS"),
  );
  return partitions[0] === undefined ? undefined : Number(partitions[0]);
}
