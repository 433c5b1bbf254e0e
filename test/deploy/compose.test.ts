import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";
import { expect, test } from "@jest/globals";
import { Ajv } from "ajv";
import { parse } from "yaml";
import { DATABASES, SERVICES } from "../../config/index.ts";
import { STOP_MS_MAX } from "../../lib/stop.ts";

// biome-ignore lint/suspicious/noExplicitAny: the schema checks the shape
type Any = any;

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (file: string): string => readFileSync(path.join(ROOT, file), "utf8");
const yaml = (file: string): Any => parse(read(file), { merge: true });
const compose = yaml("docker-compose.yml");
const services = Object.entries<Any>(compose.services);
const nodes = services.filter(([, { environment }]) => environment?.SERVICES);

test("docker-compose.yml is what the compose specification allows, and nothing else", () => {
  const require = createRequire(import.meta.url);
  // dclint ships the specification's schema as its authors publish it.
  const file = path.join(path.dirname(require.resolve("dclint/package.json")), "schemas/compose.schema.json");
  const { $schema: _draft07, ...schema } = JSON.parse(readFileSync(file, "utf8"));
  const validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(schema);
  expect([validate(compose), validate.errors]).toEqual([true, null]);
  expect(validate({ services: { web: { imagee: "nginx" } } })).toBe(false);
});

test("docker compose itself reads it, where there is one", () => {
  if (spawnSync("docker", ["compose", "version"]).status !== 0) return;
  for (const profile of ["light", "full"]) {
    const secrets = { POSTGRES_PASSWORD: "p", ADMIN_PASSWORD: "administrator", GRAFANA_PASSWORD: "g" };
    const env = { PATH: process.env.PATH, COMPOSE_PROFILES: profile, ...secrets };
    const { status, stderr } = spawnSync("docker", ["compose", "config", "--quiet"], {
      cwd: ROOT,
      env,
      encoding: "utf8",
    });
    expect([status, stderr]).toEqual([0, ""]);
  }
});

test("every container has a limit of memory, a pinned image, a health check and nothing it does not need", () => {
  for (const [name, service] of services) {
    expect([name, service.deploy.resources.limits.memory]).toEqual([
      name,
      expect.stringMatching(/^\d+[MG]$/),
    ]);
    expect([name, service.image]).toEqual([name, expect.stringMatching(/:(?!latest$)[\w.-]+$/)]);
    expect([name, service.security_opt]).toEqual([name, ["no-new-privileges:true"]]);
    expect([name, service.privileged, service.network_mode]).toEqual([name, undefined, undefined]);
    // The nodes' own stands in the Dockerfile.
    if (service.image !== "concord:0.1.0")
      expect([name, service.healthcheck?.test]).toEqual([name, expect.anything()]);
    expect(JSON.stringify(service.volumes ?? [])).not.toContain("docker.sock");
    for (const port of service.ports ?? [])
      expect([name, port]).toEqual([name, expect.stringMatching(/^127\.0\.0\.1:/)]);
  }
});

test("no secret stands in the file", () => {
  for (const [name, { environment = {} }] of services)
    for (const [variable, value] of Object.entries<string>(environment))
      if (/PASSWORD|SECRET|TOKEN|DATABASE_URL/.test(variable))
        expect([name, variable, value]).toEqual([
          name,
          variable,
          expect.stringMatching(/\$\{[A-Z_]+:\?run npm run secrets\}/),
        ]);
});

test("every service of the shop is hosted once, the gateway twice, and told nothing that nobody reads", () => {
  const hosted = nodes.flatMap(([, { environment }]) => environment.SERVICES.split(","));
  expect(hosted.sort()).toEqual([...SERVICES, "api"].sort());
  const known = new Set([...read(".env.example").matchAll(/^([A-Z][A-Z0-9_]*)=/gm)].map((match) => match[1]));
  for (const extra of ["CACHER", "KAFKA_BROKERS"]) known.add(extra);
  const told = nodes.flatMap(([, { environment }]) => Object.keys(environment));
  const fromFiles = ["full", "light"].flatMap((profile) =>
    Object.keys(parseEnv(read(`docker/${profile}.env`))),
  );
  expect([...told, ...fromFiles].filter((name) => !known.has(name))).toEqual([]);
});

test("what starts waits for what it needs: servers, migrations, then the nodes, then gateways, then Traefik", () => {
  for (const [name, service] of services)
    for (const [other, { condition, required = true }] of Object.entries<Any>(service.depends_on ?? {})) {
      expect(compose.services).toHaveProperty([other]);
      expect([name, other, condition]).toEqual([
        name,
        other,
        other === "migrate" ? "service_completed_successfully" : "service_healthy",
      ]);
      // Whatever starts must not need what its profile leaves out.
      const missing = service.profiles.filter(
        (profile: string) => !compose.services[other].profiles.includes(profile),
      );
      if (required) expect([name, other, missing]).toEqual([name, other, []]);
    }
  const needs = (name: string) => Object.keys(compose.services[name].depends_on);
  expect(needs("traefik")).toEqual(["gateway-1", "gateway-2"]);
  expect(needs("gateway-1")).toEqual(expect.arrayContaining(["order", "product", "payment", "user", "auth"]));
  for (const [name] of nodes) if (!name.startsWith("gateway")) expect(needs(name)).toContain("migrate");
});

test("the profile light leaves out Kafka and the monitoring, and nothing else", () => {
  const without = services.filter(([, { profiles }]) => !profiles.includes("light")).map(([name]) => name);
  expect(without).toEqual(["kafka", "prometheus", "grafana"]);
  for (const [, { profiles }] of services) expect(profiles).toContain("full");
  expect(parseEnv(read("docker/light.env")).KAFKA_BROKERS).toBe("");
});

test("the pools fit the server, and a stop has the time it needs", () => {
  const connections = nodes.reduce((sum, [, { environment }]) => {
    const hosted = environment.SERVICES.split(",");
    return (
      sum + DATABASES.filter((name) => hosted.includes(name)).length * Number(environment.DATABASE_POOL_MAX)
    );
  }, 0);
  const limit = Number(/max_connections=(\d+)/.exec(compose.services.postgres.command.join(" "))?.[1]);
  expect(connections + 30).toBeLessThanOrEqual(limit);
  for (const [, { stop_grace_period }] of nodes)
    expect(Number.parseInt(stop_grace_period, 10)).toBeGreaterThan(STOP_MS_MAX / 1_000 + 5);
});

test("what is mounted exists, and Prometheus and Traefik know the nodes by their names", () => {
  const mounted = services.flatMap(([, { volumes = [] }]) =>
    volumes.map((volume: string) => volume.split(":")[0] as string),
  );
  for (const source of mounted)
    if (source.startsWith("./"))
      expect([source, existsSync(path.join(ROOT, source))]).toEqual([source, true]);
    else expect(compose.volumes).toHaveProperty(source);
  const names = yaml("docker/prometheus.yml").scrape_configs[0].dns_sd_configs[0].names;
  expect([...names].sort()).toEqual(nodes.map(([name]) => name).sort());
  const { servers } = yaml("docker/traefik.routes.yml").http.services.shop.loadBalancer;
  expect(servers.map(({ url }: Any) => new URL(url).hostname)).toEqual(["gateway-1", "gateway-2"]);
});

test("Prometheus wakes people for the same as on Kubernetes, and for nothing of another name", () => {
  expect(yaml("docker/prometheus.yml").rule_files).toEqual(["alerts.yml"]);
  expect(compose.services.prometheus.volumes).toContain(
    "./docker/prometheus.alerts.yml:/etc/prometheus/alerts.yml:ro",
  );
  const { groups } = yaml("k8s/components/monitoring/alerts.yaml").spec;
  expect(yaml("docker/prometheus.alerts.yml")).toEqual({ groups });
});

test("npm run secrets makes what is missing, keeps what is there, and lets nobody else read it", async () => {
  const { secretFiles } = await import("../../scripts/secrets/secrets.ts");
  const made = secretFiles({ POSTGRES_PASSWORD: "kept" });
  expect(made.get(".env")).toMatchObject({ POSTGRES_PASSWORD: "kept", COMPOSE_PROFILES: "full" });
  expect(made.get("k8s/overlays/local/shop.secrets.env")?.DATABASE_URL).toContain(":kept@");
  const asked = [...read("docker-compose.yml").matchAll(/\$\{([A-Z_]+):\?/g)].map(
    (match) => match[1] as string,
  );
  expect(Object.keys(made.get(".env") ?? {})).toEqual(expect.arrayContaining([...new Set(asked)]));

  const root = mkdtempSync(path.join(tmpdir(), "shop-secrets-"));
  try {
    const run = () => {
      const { status, stdout } = spawnSync(process.execPath, [path.join(ROOT, "scripts/secrets.ts"), root], {
        encoding: "utf8",
      });
      expect(status).toBe(0);
      const text = readFileSync(path.join(root, ".env"), "utf8");
      for (const value of Object.values(parseEnv(text)))
        if ((value?.length ?? 0) > 10) expect(stdout).not.toContain(value);
      return text;
    };
    const first = run();
    expect(run()).toBe(first);
    expect(statSync(path.join(root, ".env")).mode & 0o077).toBe(0);
    expect(first).toMatch(/^POSTGRES_PASSWORD=[0-9a-f]{48}$/m);
  } finally {
    rmSync(root, { recursive: true });
  }
});
