/** Mistakes as people make them in manifests, each a small patch of the built objects. */
import type { KubernetesObject } from "../../scripts/k8s/build.ts";
import type { RULES } from "../../scripts/k8s/rules.ts";

export type Patch = (find: (kind: string, name: string) => KubernetesObject, set: KubernetesObject[]) => void;

export const container = (object: KubernetesObject) => object.spec.template.spec.containers[0];

/** By what somebody might have meant to do: the overlay, the patch, and the rule that must speak. */
export const MISTAKES: Record<
  string,
  [overlay: "local" | "production", rule: keyof typeof RULES, patch: Patch]
> = {
  "the image follows latest": [
    "production",
    "an image says which version it is",
    (find) => {
      container(find("Deployment", "order")).image = "ghcr.io/example/concord:latest";
    },
  ],
  "a Service's selector has a typo": [
    "local",
    "a selector picks somebody, and the right ones",
    (find) => {
      find("Service", "gateway").spec.selector["app.kubernetes.io/name"] = "gatevay";
    },
  ],
  "two Deployments select the same pods": [
    "local",
    "a selector picks somebody, and the right ones",
    (find) => {
      find("Deployment", "auth").spec.selector.matchLabels = { "app.kubernetes.io/component": "node" };
    },
  ],
  "a Service forwards to a port that no container has": [
    "production",
    "a port that is named exists",
    (find) => {
      find("Service", "gateway").spec.ports[0].targetPort = "web";
    },
  ],
  "the Ingress names a Service of another name": [
    "production",
    "a port that is named exists",
    (find) => {
      find("Ingress", "shop").spec.rules[0].http.paths[0].backend.service.name = "api";
    },
  ],
  "a variable comes from a key that the Secret lacks": [
    "local",
    "a ConfigMap, Secret, account or volume that is named exists",
    (find) => {
      container(find("StatefulSet", "postgres")).env[0].valueFrom.secretKeyRef.key = "PASSWORD";
    },
  ],
  "the vault is no longer asked for the nodes' secret": [
    "production",
    "a ConfigMap, Secret, account or volume that is named exists",
    (find, set) => {
      set.splice(set.indexOf(find("ExternalSecret", "shop")), 1);
    },
  ],
  "a configuration key is misspelt": [
    "local",
    "a node says who it is and nothing that nobody reads",
    (_find, set) => {
      for (const { kind, data } of set)
        if (kind === "ConfigMap" && data.TRANSPORTER) data.DATABASE_POOLMAX = "8";
    },
  ],
  "all replicas share one node id": [
    "production",
    "a node says who it is and nothing that nobody reads",
    (find) => {
      container(find("Deployment", "product")).env[0] = { name: "NODEID", value: "product" };
    },
  ],
  "nobody hosts the transaction manager": [
    "local",
    "every service is hosted, and none that does not exist",
    (find) => {
      for (const variable of container(find("Deployment", "order")).env)
        if (variable.name === "SERVICES") variable.value = "order";
    },
  ],
  "liveness asks for readiness, so a database outage restarts every node": [
    "production",
    "probes ask what they mean",
    (find) => {
      container(find("Deployment", "payment")).livenessProbe.httpGet.path = "/health/ready";
    },
  ],
  "the grace period is Kubernetes' default, shorter than the drain": [
    "production",
    "a stop has the time it needs",
    (find) => {
      delete find("Deployment", "order").spec.template.spec.terminationGracePeriodSeconds;
    },
  ],
  "a node stops before the ingress has heard of it": [
    "local",
    "a stop has the time it needs",
    (find) => {
      delete container(find("Deployment", "gateway")).lifecycle;
    },
  ],
  "a rolling update may take a replica away first": [
    "production",
    "a rolling update loses nobody",
    (find) => {
      find("Deployment", "gateway").spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: 1 };
    },
  ],
  "the Job of the migrations starts a shop": [
    "production",
    "databases are migrated by a Job",
    (find) => {
      container(find("Job", "migrate")).command = ["node", "scripts/start.ts"];
    },
  ],
  "an object is left in another namespace": [
    "production",
    "every object is in a namespace that is there",
    (find) => {
      find("ConfigMap", "shop-dashboard").metadata.namespace = "default";
    },
  ],
  "a PodDisruptionBudget blocks every drain of a machine": [
    "production",
    "replicas are spread, and survive the loss of a machine",
    (find) => {
      const { spec } = find("PodDisruptionBudget", "product");
      delete spec.maxUnavailable;
      spec.minAvailable = 2;
    },
  ],
  "a container keeps its capabilities": [
    "local",
    "a pod is restricted, and a node of ours cannot write",
    (find) => {
      delete container(find("Deployment", "nats")).securityContext.capabilities;
    },
  ],
  "the default policy denies only what comes in": [
    "production",
    "nothing speaks but where a policy says so",
    (find) => {
      find("NetworkPolicy", "default-deny").spec.policyTypes = ["Ingress"];
    },
  ],
  "a policy forgets the port of NATS": [
    "production",
    "what a node needs, it may reach",
    (find) => {
      find("NetworkPolicy", "to-data").spec.egress[0].ports.shift();
    },
  ],
  "the message server is looked for under an old name": [
    "local",
    "what a node needs, it may reach",
    (_find, set) => {
      for (const { kind, data } of set)
        if (kind === "ConfigMap" && data.TRANSPORTER) data.TRANSPORTER = "nats://nats-main:4222";
    },
  ],
  "memory is requested beyond its limit": [
    "local",
    "every container says what it needs and what it may take",
    (find) => {
      container(find("Deployment", "auth")).resources.requests.memory = "1Gi";
    },
  ],
  "an autoscaler's minimum is above its maximum": [
    "production",
    "one scaler per workload, from few to more",
    (find) => {
      find("ScaledObject", "order").spec.minReplicaCount = 9;
    },
  ],
  "a second autoscaler pulls at the same Deployment": [
    "production",
    "one scaler per workload, from few to more",
    (find, set) => {
      const second = structuredClone(find("HorizontalPodAutoscaler", "gateway"));
      second.metadata.name = "order";
      second.spec.scaleTargetRef.name = "order";
      set.push(second);
    },
  ],
  "order may scale to where its pools exceed max_connections": [
    "production",
    "all connections fit the server",
    (find) => {
      find("ScaledObject", "order").spec.maxReplicaCount = 12;
    },
  ],
  "there are fewer partitions than consumers": [
    "production",
    "no consumer is without a partition",
    (find) => {
      find("KafkaTopic", "shop.orders.v1").spec.partitions = 3;
    },
  ],
  "a topic has other partitions than the nodes would give it": [
    "production",
    "a topic is as the nodes would make it",
    (find) => {
      find("KafkaTopic", "shop.users.v1").spec.partitions = 24;
    },
  ],
  "a topic keeps events for a shorter time than the nodes would have it": [
    "production",
    "a topic is as the nodes would make it",
    (find) => {
      find("KafkaTopic", "shop.users.v1").spec.config["retention.ms"] = 86_400_000;
    },
  ],
  "a topic of dead letters is forgotten": [
    "production",
    "a topic is as the nodes would make it",
    (find) => {
      find("KafkaTopic", "shop.products.v1.dlq").spec.topicName = "shop.products.dlq";
    },
  ],
  "the scaler watches a group that nobody is in": [
    "local",
    "a scaler that watches a group watches its workload's",
    (find) => {
      find("ScaledObject", "notification").spec.triggers[0].metadata.consumerGroup = "notification";
    },
  ],
  "PostgreSQL may fail over to an instance without the last commits": [
    "production",
    "an acknowledged commit survives the loss of its server",
    (find) => {
      delete find("Cluster", "shop-postgres").spec.postgresql.synchronous;
    },
  ],
  "an alert looks at a metric of another name": [
    "local",
    "a metric that is looked at is one that a node tells",
    (find) => {
      find("PrometheusRule", "shop").spec.groups[0].rules[0].expr = "max(shop_in_doubt_age_seconds) > 30";
    },
  ],
  "an alert has no runbook": [
    "local",
    "an alert says how bad it is and what to do",
    (find) => {
      find("PrometheusRule", "shop").spec.groups[0].rules.push({
        alert: "ShopSlow",
        expr: "shop_node_ready > 1",
        labels: { severity: "warning" },
        annotations: { runbook_url: "docs/operations.md#shopslow" },
      });
    },
  ],
  "the monitor replaces the label that says which service it is": [
    "production",
    "every node is scraped, with its own labels",
    (find) => {
      delete find("ServiceMonitor", "nodes").spec.endpoints[0].honorLabels;
    },
  ],
  "a gRPC Service is given an address": [
    "local",
    "a gRPC Service is headless",
    (find) => {
      delete find("Service", "order-grpc").spec.clusterIP;
    },
  ],
};
