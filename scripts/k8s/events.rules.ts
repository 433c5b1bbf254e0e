/** Rules about Kafka: its topics are as the nodes would make them, and who watches a group watches one that there is. */
import { loadConfig, SERVICES } from "../../config/index.ts";
import {
  deadLetterTopicName,
  TOPICS,
  type Topic,
  topicName,
  topicSettings,
} from "../../mixins/events/topics.ts";
import { nameOf } from "./models.ts";
import type { ResourceSet, Workload } from "./resource-set.ts";
import type { Rule } from "./rules.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape
type Any = any;

const told = (set: ResourceSet, node: Workload, variable: string): string | undefined =>
  set.environment(node, node.containers[0]).get(variable);

export const EVENTS_RULES: Readonly<Record<string, Rule>> = {
  "a topic is as the nodes would make it": (set) => {
    const declared = set.of("KafkaTopic");
    const teller = set.nodes.find((node) => told(set, node, "KAFKA_BROKERS"));
    if (declared.length === 0 || !teller) return [];
    const namespace = told(set, teller, "NAMESPACE") ?? "";
    const names = (Object.keys(TOPICS) as Topic[]).flatMap((topic) => [
      topicName(namespace, topic),
      deadLetterTopicName(namespace, topic),
    ]);
    const setting = (name: string) => told(set, teller, name);
    const { kafkaPartitions, kafkaReplication, kafkaRetentionDays } = loadConfig({
      KAFKA_PARTITIONS: setting("KAFKA_PARTITIONS"),
      KAFKA_REPLICATION: setting("KAFKA_REPLICATION"),
      KAFKA_RETENTION_DAYS: setting("KAFKA_RETENTION_DAYS"),
      EVENT_RETENTION_DAYS: setting("EVENT_RETENTION_DAYS"),
    });
    const wanted = (name: string) => ({
      partitions: kafkaPartitions,
      replicas: kafkaReplication,
      ...topicSettings(name, { replication: kafkaReplication, retentionDays: kafkaRetentionDays }),
    });
    const nameOfTopic = ({ metadata, spec }: Any): string => spec.topicName ?? metadata.name;
    return [
      ...names
        .filter((name) => !declared.some((topic) => nameOfTopic(topic) === name))
        .map((name) => `nobody declares the topic ${name}`),
      ...declared.flatMap((topic) => {
        const { partitions, replicas, config } = topic.spec;
        const found: Record<string, unknown> = { partitions, replicas, ...config };
        return [
          ...(names.includes(nameOfTopic(topic)) ? [] : [`${nameOf(topic)} is no topic of the shop's`]),
          ...Object.entries(wanted(nameOfTopic(topic)))
            .filter(([what, value]) => String(found[what]) !== String(value))
            .map(([what, value]) => `${nameOf(topic)} has ${what} ${found[what]}, the nodes ${value}`),
        ];
      }),
    ];
  },

  "a scaler that watches a group watches its workload's": (set) =>
    set.scalers.flatMap(({ label, target, namespace, object }) => {
      const node = set.nodes.find((each) => each.name === target && each.namespace === namespace);
      const groups = SERVICES.filter(
        (name) => node && told(set, node, "SERVICES")?.split(",").includes(name),
      ).map((name) => `${node && told(set, node, "NAMESPACE")}.${name}`);
      return (object.spec.triggers ?? [])
        .filter(({ type, metadata }: Any) => type === "kafka" && !groups.includes(metadata.consumerGroup))
        .map(
          ({ metadata }: Any) =>
            `${label} watches the group ${metadata.consumerGroup}, its nodes are ${groups.join(", ")}`,
        );
    }),
};
