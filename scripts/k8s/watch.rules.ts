/** Rules about what is measured: nobody may look at a number that no node tells, or be woken without a runbook. */
import { METRICS } from "../../mixins/measures.ts";
import { read } from "./build.ts";
import { nameOf } from "./models.ts";
import { matches, type ResourceSet } from "./resource-set.ts";
import type { Rule } from "./rules.ts";

// biome-ignore lint/suspicious/noExplicitAny: models.ts checks the shape
type Any = any;

export const WATCH_RULES: Readonly<Record<string, Rule>> = {
  "a metric that is looked at is one that a node tells": (set) =>
    expressions(set).flatMap(([where, expression]) =>
      [...expression.matchAll(/\b(shop_[a-z_]+?)(?:_bucket|_sum|_count)?\b(?=[{[)\s,]|$)/g)]
        .map((match) => match[1] as string)
        .filter((name) => !(name in METRICS))
        .map((name) => `${where} looks at ${name}`),
    ),

  "an alert says how bad it is and what to do": (set) => {
    const runbook = read("docs/operations.md");
    return alerts(set).flatMap(({ alert, labels, annotations, expr }) => [
      ...(["critical", "warning"].includes(labels?.severity) ? [] : [`${alert} has no severity`]),
      ...(annotations?.runbook_url?.endsWith(`docs/operations.md#${alert.toLowerCase()}`)
        ? []
        : [`${alert} names no runbook`]),
      ...(runbook.includes(`\n### ${alert}\n`) ? [] : [`docs/operations.md has no section ${alert}`]),
      ...(expr ? [] : [`${alert} asks nothing`]),
    ]);
  },

  "every node is scraped, with its own labels": (set) => {
    const monitors = set.of("ServiceMonitor");
    return [
      ...set.nodes
        .filter(
          (node) =>
            !monitors.some((monitor) =>
              set
                .of("Service")
                .filter((service) => matches(monitor.spec.selector, service.metadata.labels ?? {}))
                .some((service) =>
                  set.selected(service.metadata.namespace, service.spec.selector).includes(node),
                ),
            ),
        )
        .map(({ label }) => `nobody scrapes ${label}`),
      ...monitors.flatMap((monitor) =>
        monitor.spec.endpoints.flatMap(({ honorLabels, interval, scrapeTimeout, path }: Any) => [
          ...(honorLabels ? [] : [`${nameOf(monitor)} replaces our label service by its own`]),
          ...(path === "/metrics" ? [] : [`${nameOf(monitor)} asks ${path}`]),
          ...(Number.parseInt(scrapeTimeout, 10) < Number.parseInt(interval, 10)
            ? []
            : [`${nameOf(monitor)} waits longer than it rests`]),
        ]),
      ),
    ];
  },

  "a gRPC Service is headless": (set) =>
    set
      .of("Service")
      .filter(({ spec }) => spec.ports.some(({ name }: Any) => name === "grpc") && spec.clusterIP !== "None")
      .map((service) => `${nameOf(service)} has one address, and its clients would stick to one pod`),
};

const alerts = (set: ResourceSet): Any[] =>
  set
    .of("PrometheusRule")
    .flatMap(({ spec }) => spec.groups.flatMap(({ rules }: Any) => rules.filter(({ alert }: Any) => alert)));

/** Every expression over metrics, with who asks it. */
function expressions(set: ResourceSet): [string, string][] {
  const dashboards = set
    .of("ConfigMap")
    .filter(({ metadata }) => metadata.labels?.grafana_dashboard)
    .flatMap((config) =>
      Object.values(config.data as Record<string, string>).flatMap((text) =>
        JSON.parse(text).panels.flatMap(({ title, targets }: Any) =>
          targets.map(({ expr }: Any): [string, string] => [`the panel ${title}`, expr]),
        ),
      ),
    );
  const scalers = set.scalers.flatMap(({ label, object }): [string, string][] => [
    ...(object.spec.triggers ?? [])
      .filter(({ type }: Any) => type === "prometheus")
      .map(({ metadata }: Any): [string, string] => [label, metadata.query]),
    ...(object.spec.metrics ?? [])
      .filter(({ pods }: Any) => pods)
      .map(({ pods }: Any): [string, string] => [label, pods.metric.name]),
  ]);
  return [
    ...alerts(set).map(({ alert, expr }): [string, string] => [alert, expr]),
    ...dashboards,
    ...scalers,
  ];
}
