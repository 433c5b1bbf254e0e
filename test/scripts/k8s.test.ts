/** The manifests as they are, and mistakes as people make them: each must be caught, by the rule that is meant to. */
import { beforeAll, expect, test } from "@jest/globals";
import { build, type KubernetesObject, overlays } from "../../scripts/k8s/build.ts";
import { modelFaults } from "../../scripts/k8s/models.ts";
import { ResourceSet } from "../../scripts/k8s/resource-set.ts";
import { RULES, ruleFaults } from "../../scripts/k8s/rules.ts";
import { container, MISTAKES, type Patch } from "./k8s.mistakes.ts";

let built: Record<string, KubernetesObject[]>;
beforeAll(() => {
  built = Object.fromEntries(overlays().map((name) => [name, build(name)]));
});

function withMistake(overlay: string, patch: Patch): KubernetesObject[] {
  const set = structuredClone(built[overlay] as KubernetesObject[]);
  patch((kind, name) => {
    const object = set.find((each) => each.kind === kind && each.metadata.name === name);
    if (!object) throw new Error(`${overlay} has no ${kind} ${name}`);
    return object;
  }, set);
  return set;
}

test("both overlays are without fault", async () => {
  expect(overlays()).toEqual(["local", "production"]);
  for (const objects of Object.values(built)) {
    expect(objects.length).toBeGreaterThan(40);
    expect(await modelFaults(objects)).toEqual([]);
    expect(ruleFaults(new ResourceSet(objects))).toEqual([]);
  }
});

test.each(Object.entries(MISTAKES))("%s: caught", (_mistake, [overlay, rule, patch]) => {
  const faults = ruleFaults(new ResourceSet(withMistake(overlay, patch)));
  expect(faults.filter((fault) => fault.startsWith(`${rule}: `))).not.toEqual([]);
});

/** What only a model can see, all in one look: each is an object of its own with what the fault must name. */
test("fields that do not exist, values of the wrong kind and fields left out are caught, whatever the resource", async () => {
  const broken: [
    string,
    RegExp,
    overlay: string,
    kind: string,
    name: string,
    (object: KubernetesObject) => void,
  ][] = [
    [
      "a misspelt field deep in a pod",
      /readOnlyRootFileSystem/,
      "local",
      "Deployment",
      "gateway",
      (object) => {
        container(object).securityContext.readOnlyRootFileSystem = true;
      },
    ],
    [
      "a probe's field in the wrong place",
      /failureThreshold/,
      "local",
      "Deployment",
      "user",
      (object) => {
        container(object).failureThreshold = 3;
      },
    ],
    [
      "a number as text",
      /containerPort/,
      "local",
      "Deployment",
      "order",
      (object) => {
        container(object).ports[0].containerPort = "3030";
      },
    ],
    [
      "a Service's port without its number",
      /required property port/,
      "production",
      "Service",
      "gateway",
      (object) => {
        delete object.spec.ports[0].port;
      },
    ],
    [
      "a field of HPA in a ScaledObject",
      /minReplicas/,
      "production",
      "ScaledObject",
      "order",
      (object) => {
        object.spec.minReplicas = 2;
      },
    ],
    [
      "a ServiceMonitor's misspelt interval",
      /intervall/,
      "production",
      "ServiceMonitor",
      "nodes",
      (object) => {
        object.spec.endpoints[0].intervall = "15s";
      },
    ],
    [
      "an alert's misspelt duration",
      /"fore"/,
      "production",
      "PrometheusRule",
      "shop",
      (object) => {
        object.spec.groups[0].rules[0].fore = "1m";
      },
    ],
    [
      "an ExternalSecret without its key",
      /remoteRef/,
      "production",
      "ExternalSecret",
      "shop",
      (object) => {
        delete object.spec.data[0].remoteRef;
      },
    ],
    [
      "a Kafka listener of no type",
      /"external"/,
      "production",
      "Kafka",
      "shop",
      (object) => {
        object.spec.kafka.listeners[0].type = "external";
      },
    ],
    [
      "a Cluster's field of another operator",
      /replicas/,
      "production",
      "Cluster",
      "shop-postgres",
      (object) => {
        object.spec.replicas = 3;
      },
    ],
    [
      "a resource of no known kind",
      /no model/,
      "production",
      "KafkaTopic",
      "shop.orders.v1",
      (object) => {
        object.apiVersion = "kafka.strimzi.io.example/v1";
      },
    ],
  ];
  const objects = broken.map(([, , overlay, kind, name, patch]) => {
    const object = structuredClone(
      (built[overlay] as KubernetesObject[]).find(
        (each) => each.kind === kind && each.metadata.name === name,
      ),
    ) as KubernetesObject;
    patch(object);
    return object;
  });
  const faults = await modelFaults(
    objects,
    broken.map(([what]) => what),
  );
  for (const [what, pattern] of broken)
    expect(faults.filter((fault) => fault.startsWith(`${what}: `))).toEqual(
      expect.arrayContaining([expect.stringMatching(pattern)]),
    );
});

test("every rule has a mistake that it catches", () => {
  const tried = new Set(Object.values(MISTAKES).map(([, rule]) => rule));
  expect(Object.keys(RULES).filter((rule) => !tried.has(rule))).toEqual([]);
});
