import { readFileSync } from "node:fs";
import { describe, expect, it } from "@jest/globals";
import { databaseName, databaseUrlOf } from "../../config/database.ts";
import { loadConfig } from "../../config/index.ts";

/** The variables that loadConfig asks for, whatever their value. */
function variablesRead(): string[] {
  const names = new Set<string>();
  const recorder = new Proxy<Record<string, string | undefined>>(
    {},
    {
      get(_target, name) {
        names.add(String(name));
        return undefined;
      },
    },
  );
  loadConfig(recorder);
  return [...names].sort();
}

function example(): [name: string, value: string][] {
  const text = readFileSync(new URL("../../.env.example", import.meta.url), "utf8");
  return [...text.matchAll(/^([A-Z][A-Z0-9_]*)=(.*)$/gm)].map((match) => [match[1] ?? "", match[2] ?? ""]);
}

describe("the configuration", () => {
  it("lists every fault at once, each with its value", () => {
    const load = () =>
      loadConfig({
        NODE_ENV: "prod",
        PORT: "80000",
        METRICS_PORT: "metrics",
        OTEL_EXPORTER_OTLP_ENDPOINT: "grpc://collector:4317",
        OTEL_TRACES_SAMPLER_ARG: "2",
        SERVICES: "api,cart",
        LOGLEVEL: "loud",
        ADMIN_EMAIL: "nobody",
        ADMIN_PASSWORD: "short",
        DATABASE_URL: "mysql://localhost",
        DATABASE_URL_TRANSACTION_MANAGER: "not a url",
        DATABASE_POOL_MAX: "1",
        BCRYPT_COST: "3",
        MAILBOX_CAPACITY: "0",
        BATCH_MAX: "2.5",
        BALANCER: "best",
        CACHER: "memcached://host",
        IN_FLIGHT_MAX: "0",
        RATE_LIMIT: "fast",
        DECISION_RETENTION_HOURS: "-1",
        TRANSPORTER: "redis://host:6379",
        KAFKA_BROKERS: "kafka:9092,host",
        KAFKA_PARTITIONS: "0",
        KAFKA_REPLICATION: "none",
        EVENT_RETENTION_DAYS: "0",
        KAFKA_RETENTION_DAYS: "8",
        SMTP_URL: "http://host:25",
        MAIL_FROM: "Shop <nowhere>",
        GRPC_PORT: "-1",
        GRPC_TLS_CERT: "cert.pem",
        PARTICIPANT_TOKEN: "short",
        FOREIGN_PARTICIPANTS: "voucher=grpc://a:1,order=grpc://a:1,points=http://a:1",
      });
    expect(load).toThrow(/33 fault\(s\)/);
    for (const fault of [
      /NODE_ENV=prod: expected one of development/,
      /PORT=80000/,
      /METRICS_PORT=metrics/,
      /OTEL_EXPORTER_OTLP_ENDPOINT=grpc/,
      /OTEL_TRACES_SAMPLER_ARG=2/,
      /SERVICES names cart/,
      /LOGLEVEL=loud/,
      /ADMIN_EMAIL=nobody/,
      /ADMIN_PASSWORD: /,
      /DATABASE_URL: /,
      /DATABASE_URL_TRANSACTION_MANAGER: /,
      /DATABASE_POOL_MAX=1/,
      /BCRYPT_COST=3/,
      /MAILBOX_CAPACITY=0/,
      /BATCH_MAX=2\.5/,
      /BALANCER=best/,
      /CACHER: /,
      /IN_FLIGHT_MAX=0/,
      /RATE_LIMIT=fast/,
      /DECISION_RETENTION_HOURS=-1/,
      /TRANSPORTER: /,
      /KAFKA_BROKERS has host: /,
      /KAFKA_PARTITIONS=0/,
      /KAFKA_REPLICATION=none/,
      /EVENT_RETENTION_DAYS=0/,
      /KAFKA_RETENTION_DAYS=8: more than EVENT_RETENTION_DAYS=7/,
      /SMTP_URL: /,
      /MAIL_FROM=Shop <nowhere>/,
      /GRPC_PORT=-1/,
      /GRPC_TLS_CERT, GRPC_TLS_KEY: both/,
      /PARTICIPANT_TOKEN: /,
      /order=grpc:\/\/a:1: the name order is taken/,
      /points=http:\/\/a:1: expected/,
    ])
      expect(load).toThrow(fault);
  });

  it("refuses a port of metrics that the gateway or gRPC has, and lets each take a free one", () => {
    expect(() => loadConfig({ METRICS_PORT: "3000" })).toThrow(/METRICS_PORT=3000: PORT is the same/);
    expect(() => loadConfig({ METRICS_PORT: "7", GRPC_PORT: "7" })).toThrow(/METRICS_PORT=7: GRPC_PORT/);
    expect(loadConfig({ PORT: "0", GRPC_PORT: "0", METRICS_PORT: "0" }).metricsPort).toBe(0);
  });

  it("repeats no secret in a fault", () => {
    const load = () =>
      loadConfig({
        ADMIN_PASSWORD: "s3cret",
        DATABASE_URL: "mysql://u:s3cret@host",
        TRANSPORTER: "nats://u:s3cret@",
      });
    expect(load).toThrow();
    expect(load).not.toThrow(/s3cret/);
  });

  it("is frozen, its lists too", () => {
    const config = loadConfig({});
    for (const part of [
      config,
      config.services,
      config.expectedServices,
      config.databaseUrls,
      config.corsOrigins,
      config.kafkaBrokers,
    ])
      expect(Object.isFrozen(part)).toBe(true);
  });

  it("refuses a node that would host nothing, and a part of the shop that cannot reach the rest", () => {
    expect(() => loadConfig({ SERVICES: "," })).toThrow(/names no service/);
    const part = { SERVICES: "order,api" };
    expect(() => loadConfig(part)).toThrow(
      /needs auth, user, product, payment, notification, transaction-manager, .*set TRANSPORTER=/,
    );
    const config = loadConfig({ ...part, TRANSPORTER: "nats://a:4222, nats://user:secret@b:4222" });
    expect(config.services).toEqual(["api", "order"]);
    expect(config.expectedServices.length).toBe(8);
    expect(config.transporter).toBe("nats://a:4222,nats://user:secret@b:4222");
    expect(loadConfig({ SERVICES: "auth,user" }).expectedServices).toEqual(["auth", "user"]);
  });

  it("takes an empty variable for one that is not set", () => {
    expect(loadConfig({ PORT: "", SERVICES: " ", DATABASE_URL: "" })).toMatchObject({
      port: 3000,
      databaseUrl: undefined,
    });
  });

  it("reads exactly the variables that .env.example lists", () => {
    expect(
      example()
        .map(([name]) => name)
        .sort(),
    ).toEqual(variablesRead());
  });

  it("has the defaults that .env.example states", () => {
    const { nodeId: made, ...stated } = loadConfig(Object.fromEntries(example()));
    const { nodeId: also, ...defaults } = loadConfig({});
    expect(stated).toEqual(defaults);
    expect(made).not.toBe(also);
  });
});

describe("a service's database", () => {
  it("is the one its own variable names, then shop_<service> on the common server", () => {
    const config = loadConfig({
      DATABASE_URL: "postgres://u:p@host:5432",
      DATABASE_URL_ORDER: "postgres://elsewhere/orders",
    });
    expect(databaseUrlOf("order", config)).toBe("postgres://elsewhere/orders");
    expect(databaseUrlOf("user", config)).toBe("postgres://u:p@host:5432/shop_user");
    expect(databaseName("transaction-manager")).toBe("shop_transaction_manager");
  });

  it("names the remedy where no server is configured and none runs", () => {
    const config = loadConfig({ DATA_DIR: "/nonexistent" });
    expect(() => databaseUrlOf("order", config)).toThrow(/npm start, or set DATABASE_URL/);
  });
});
