/**
 * Types of the custom resources that no package has models of, as far as k8s/ uses them: a field that is not here is
 * unknown, and so a mistake or a reason to look it up and add it. Written from the operators' own references:
 * Strimzi 0.49 (https://strimzi.io/docs/operators/0.49.0/configuring.html, API version v1) and CloudNativePG 1.27
 * (https://cloudnative-pg.io/documentation/1.27/cloudnative-pg.v1/).
 */
interface Metadata {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

interface Resources {
  requests?: { cpu?: string; memory?: string };
  limits?: { cpu?: string; memory?: string };
}

interface Resource<Kind extends string, Version extends string, Spec> {
  apiVersion: Version;
  kind: Kind;
  metadata: Metadata;
  spec: Spec;
}

type Strimzi<Kind extends string, Spec> = Resource<Kind, "kafka.strimzi.io/v1", Spec>;
type KafkaConfig = Record<string, string | number | boolean>;

export type Kafka = Strimzi<
  "Kafka",
  {
    kafka: {
      version?: string;
      metadataVersion?: string;
      listeners: {
        name: string;
        port: number;
        type: "internal" | "route" | "loadbalancer" | "nodeport" | "ingress" | "cluster-ip";
        tls: boolean;
        authentication?: { type: "tls" | "scram-sha-512" };
      }[];
      config?: KafkaConfig;
    };
    entityOperator?: { topicOperator?: { resources?: Resources }; userOperator?: { resources?: Resources } };
  }
>;

export type KafkaNodePool = Strimzi<
  "KafkaNodePool",
  {
    replicas: number;
    roles: ("controller" | "broker")[];
    storage:
      | { type: "ephemeral"; sizeLimit?: string }
      | {
          type: "jbod";
          volumes: {
            id: number;
            type: "persistent-claim";
            size: string;
            class?: string;
            deleteClaim?: boolean;
          }[];
        };
    resources?: Resources;
  }
>;

export type KafkaTopic = Strimzi<
  "KafkaTopic",
  { topicName?: string; partitions?: number; replicas?: number; config?: KafkaConfig }
>;

export type Cluster = Resource<
  "Cluster",
  "postgresql.cnpg.io/v1",
  {
    instances: number;
    imageName?: string;
    storage: { size: string; storageClass?: string };
    walStorage?: { size: string; storageClass?: string };
    postgresql?: {
      parameters?: Record<string, string>;
      synchronous?: { method: "any" | "first"; number: number; dataDurability?: "required" | "preferred" };
    };
    bootstrap?: { initdb?: { database: string; owner: string; secret?: { name: string } } };
    managed?: {
      roles?: {
        name: string;
        ensure?: "present" | "absent";
        login?: boolean;
        createdb?: boolean;
        superuser?: boolean;
        passwordSecret?: { name: string };
      }[];
    };
    affinity?: {
      enablePodAntiAffinity?: boolean;
      podAntiAffinityType?: "preferred" | "required";
      topologyKey?: string;
    };
    resources?: Resources;
  }
>;
