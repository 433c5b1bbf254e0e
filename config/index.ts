/**
 * The only reader of process.env. Every variable is checked once, every fault is listed at once, and the result is
 * frozen. `.env.example` lists the same variables for people; a test holds the two together.
 */
import { hostname } from "node:os";
import path from "node:path";
import { foreignOf, mailboxOf, rateLimitOf, tlsOf } from "./parts.ts";

export const SERVICES = [
  "api",
  "auth",
  "user",
  "product",
  "order",
  "payment",
  "notification",
  "transaction-manager",
] as const;
export type ServiceName = (typeof SERVICES)[number];

/** Whose actions a service calls to do its work: they must be somewhere in the shop, here or on another node. */
const CALLS: Readonly<Record<ServiceName, readonly ServiceName[]>> = {
  api: ["auth", "user", "product", "order", "notification"],
  auth: ["user"],
  user: ["auth"],
  product: ["transaction-manager"],
  order: ["product", "payment", "transaction-manager"],
  payment: ["transaction-manager"],
  notification: ["user", "order"],
  "transaction-manager": ["order", "product", "payment"],
};

/** Services that may stand on their own, reached over HTTP: AUTH_URL, USER_URL. */
export const REACHABLE_BY_URL = ["auth", "user"] as const satisfies readonly ServiceName[];
export type ReachableByUrl = (typeof REACHABLE_BY_URL)[number];

/**
 * What a node that hosts these must see on its message server, or within itself, before it can do its work: themselves,
 * and what they call, but for what is reached over HTTP. A node that has URLs and no message server is an island: its
 * gateway serves what it hosts.
 */
export const expectedBy = (
  services: readonly ServiceName[],
  { serviceUrls, transporter }: Pick<Config, "serviceUrls" | "transporter">,
): ServiceName[] => {
  const byUrl = Object.keys(serviceUrls);
  const isIsland = transporter === undefined && byUrl.length > 0;
  const calls = (name: ServiceName) => (isIsland && name === "api" ? (["auth"] as const) : CALLS[name]);
  return SERVICES.filter(
    (name) =>
      services.includes(name) ||
      (!byUrl.includes(name) && services.some((hosted) => calls(hosted).includes(name as never))),
  );
};

/** Services that own a database. */
export const DATABASES = [
  "auth",
  "user",
  "product",
  "order",
  "payment",
  "notification",
  "transaction-manager",
] as const satisfies readonly ServiceName[];
export type DatabaseName = (typeof DATABASES)[number];

/** Those that vote on a checkout: whom operators ask, also while one of them is away. */
export const PARTICIPANTS = ["order", "product", "payment"] as const satisfies readonly DatabaseName[];

const ENVIRONMENTS = ["development", "production", "test"] as const;
const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;
/** How a call chooses among the nodes that could take it. */
const BALANCERS = ["least-requests", "round-robin", "latency", "rendezvous"] as const;
export type Balancer = (typeof BALANCERS)[number];

type LogLevel = (typeof LOG_LEVELS)[number];
const LOGGERS = ["console", "pino"] as const;
type Logger = (typeof LOGGERS)[number];

export interface Config {
  readonly environment: (typeof ENVIRONMENTS)[number];
  /** TCP port of the REST gateway; 0 takes a free one. */
  readonly port: number;
  /** TCP port of the gRPC server; 0 takes a free one. */
  readonly grpcPort: number;
  /** PEM files of the gRPC server, and of this node as a client of others; undefined: no TLS. */
  readonly grpcTls:
    | { readonly cert: string; readonly key: string; readonly ca: string | undefined }
    | undefined;
  /** What participants outside the shop show it, and it shows them; undefined: there are none. */
  readonly participantToken: string | undefined;
  /** Participants outside the shop, by name: `host:port` of their gRPC servers. */
  readonly foreignParticipants: Readonly<Record<string, string>>;
  /** TCP port of the node server (health, metrics); 0 takes a free one, undefined opens none. */
  readonly metricsPort: number | undefined;
  /** Where spans are sent, without /v1/traces; undefined: nothing is traced. */
  readonly otlpEndpoint: string | undefined;
  /** The part of traces that is kept, 0 to 1. */
  readonly tracesRatio: number;
  /** Absolute path: embedded PostgreSQL and written mail. */
  readonly dataDir: string;
  /** `postgres://user:pass@host:port`, or undefined for the embedded server under dataDir. */
  readonly databaseUrl: string | undefined;
  readonly databaseUrls: Readonly<Partial<Record<DatabaseName, string>>>;
  /** Connections per service and node. */
  readonly databasePoolMax: number;
  /** `smtp://[user:password@]host[:port]` or `smtps://`, or undefined: mail is written to files under dataDir. */
  readonly smtpUrl: string | undefined;
  /** Whom mail is from. */
  readonly mailFrom: { readonly name: string; readonly address: string };
  readonly adminEmail: string;
  readonly adminPassword: string | undefined;
  readonly bcryptCost: number;
  /** Addresses or CIDR ranges of proxies whose X-Forwarded-For is believed. */
  readonly trustedProxies: readonly string[];
  /** Origins that browsers may call from, compared exactly. */
  readonly corsOrigins: readonly string[];
  /** Messages a mailbox holds before it answers OVERLOADED. */
  readonly mailboxCapacity: number;
  /** Messages one batch holds at most; 1 turns group commit off. */
  readonly batchMax: number;
  readonly balancer: Balancer;
  /** `memory`, `redis://host:port`, or undefined for none. */
  readonly cacher: string | undefined;
  /** Requests that the gateway works on at once; more are refused. */
  readonly inFlightMax: number;
  /** Requests of one client address in so many seconds; undefined for no limit. */
  readonly rateLimit: { readonly requests: number; readonly seconds: number } | undefined;
  /** How long decisions and final votes are kept, in hours; fractions are allowed. Never a matter of safety. */
  readonly decisionRetentionHours: number;
  /** `host:port` of Kafka's brokers; none: events are read from the outboxes in PostgreSQL. */
  readonly kafkaBrokers: readonly string[];
  /** Of topics that are made at the start. */
  readonly kafkaPartitions: number;
  readonly kafkaReplication: number;
  /** How long the topics that the shop makes keep events. */
  readonly kafkaRetentionDays: number;
  /** How long published events are kept, and the ids of those that were taken. */
  readonly eventRetentionDays: number;
  /** `nats://host:port`, several separated by commas, or undefined for a shop of one process. */
  readonly transporter: string | undefined;
  /** Where services that stand on their own are reached. */
  readonly serviceUrls: Readonly<Partial<Record<ReachableByUrl, string>>>;
  /** Shared by the services that call each other over HTTP; without it nobody may. */
  readonly serviceSecret: string | undefined;
  /** What this node hosts. */
  readonly services: readonly ServiceName[];
  /** What this node hosts or calls: it is not ready before it has seen all of them. */
  readonly expectedServices: readonly ServiceName[];
  readonly namespace: string;
  readonly nodeId: string;
  readonly logLevel: LogLevel;
  /** `console` for people, `pino` (JSON lines) for programs; undefined: by whether the output is a terminal. */
  readonly logger: Logger | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads and checks the environment. Throws one Error that names every fault with its value and the remedy. */
export function loadConfig(env: Environment): Config {
  const faults: string[] = [];

  const text = (name: string): string | undefined => {
    const value = env[name]?.trim();
    return value === undefined || value === "" ? undefined : value;
  };
  const integer = (name: string, fallback: number, min: number, max: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const number = Number(value);
    if (/^\d+$/.test(value) && number >= min && number <= max) return number;
    faults.push(`${name}=${value}: expected a whole number from ${min} to ${max}`);
    return fallback;
  };
  const hours = (name: string, fallback: number, max: number): number => {
    const value = text(name);
    if (value === undefined) return fallback;
    const number = Number(value);
    if (/^\d+(\.\d+)?$/.test(value) && number <= max) return number;
    faults.push(`${name}=${value}: expected hours from 0 to ${max}, such as 24 or 0.5`);
    return fallback;
  };
  const oneOf = <Word extends string>(name: string, words: readonly Word[]): Word | undefined => {
    const value = text(name);
    if (value !== undefined && !(words as readonly string[]).includes(value))
      faults.push(`${name}=${value}: expected one of ${words.join(", ")}`);
    return value as Word | undefined;
  };
  const list = (name: string): string[] =>
    (text(name) ?? "")
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "");
  const postgresUrl = (name: string): string | undefined => {
    const value = text(name);
    if (value === undefined) return undefined;
    const url = URL.parse(value);
    if (url && (url.protocol === "postgres:" || url.protocol === "postgresql:")) return value;
    // The value may hold a password, so it is not repeated.
    faults.push(`${name}: expected postgres://user:pass@host:port, got something else`);
    return undefined;
  };

  const natsUrls = (name: string): string | undefined => {
    const urls = list(name);
    if (urls.length === 0) return undefined;
    const isNats = (url: string) => /^nats:\/\/[^/]+$/.test(url) && URL.canParse(url);
    // Not repeated: it may hold a password.
    if (!urls.every(isNats)) faults.push(`${name}: expected nats://host:port, got something else`);
    return urls.join(",");
  };

  const smtpUrl = (name: string): string | undefined => {
    const value = text(name);
    const url = value === undefined ? undefined : URL.parse(value);
    const isSmtp = url && /^smtps?:$/.test(url.protocol) && url.hostname !== "" && /^\/?$/.test(url.pathname);
    // Not repeated: it may hold a password.
    if (value !== undefined && !(isSmtp && url.search === ""))
      faults.push(`${name}: expected smtp://user:password@host:port or smtps://..., got something else`);
    return value;
  };

  const httpUrl = (name: string): string | undefined => {
    const value = text(name);
    const url = value === undefined ? undefined : URL.parse(value);
    if (value === undefined || (url && /^https?:$/.test(url.protocol) && url.search === "")) return value;
    faults.push(`${name}=${value}: expected http://host:port or https://host`);
    return undefined;
  };
  const ratio = (name: string): number => {
    const value = Number(text(name) ?? 1);
    if (!(value >= 0 && value <= 1)) faults.push(`${name}=${text(name)}: expected a number from 0 to 1`);
    return value;
  };

  const transporter = natsUrls("TRANSPORTER");
  const serviceUrls = Object.fromEntries(
    REACHABLE_BY_URL.map((name) => [name, httpUrl(`${environmentName(name)}_URL`)]).filter(
      ([, url]) => url !== undefined,
    ),
  ) as Config["serviceUrls"];
  const byUrl = Object.keys(serviceUrls) as ReachableByUrl[];
  const services = servicesOf(text("SERVICES"), list("SERVICES"), byUrl, faults);
  for (const name of byUrl)
    if (services.includes(name))
      faults.push(
        `SERVICES names ${name}, and ${environmentName(name)}_URL says that it is elsewhere: keep one`,
      );
  const serviceSecret = text("SERVICE_SECRET");
  if (serviceSecret !== undefined && (serviceSecret.length < 16 || !/^[\x21-\x7e]+$/.test(serviceSecret)))
    faults.push("SERVICE_SECRET: expected at least 16 visible ASCII characters");
  if (serviceSecret === undefined && byUrl.length > 0)
    faults.push(
      `${byUrl.map((name) => `${environmentName(name)}_URL`).join(", ")}: needs SERVICE_SECRET, the same there and here`,
    );
  const expectedServices = expectedBy(services, { serviceUrls, transporter });
  const elsewhere = expectedServices.filter((name) => !services.includes(name));
  if (elsewhere.length > 0 && text("TRANSPORTER") === undefined)
    faults.push(
      `SERVICES=${services.join(",")} needs ${elsewhere.join(", ")}, which this node does not host and cannot reach: ` +
        "set TRANSPORTER=nats://host:port, or host them too",
    );

  const grpcTls = tlsOf(text("GRPC_TLS_CERT"), text("GRPC_TLS_KEY"), text("GRPC_TLS_CA"), faults);
  const participantToken = text("PARTICIPANT_TOKEN");
  if (participantToken !== undefined && !/^[\x21-\x7e]{16,}$/.test(participantToken))
    faults.push("PARTICIPANT_TOKEN: expected at least 16 visible ASCII characters");
  const foreignParticipants = foreignOf(list("FOREIGN_PARTICIPANTS"), SERVICES, faults);
  if (Object.keys(foreignParticipants).length > 0 && participantToken === undefined)
    faults.push("FOREIGN_PARTICIPANTS needs PARTICIPANT_TOKEN, which both sides show each other");

  const cacher = text("CACHER");
  const isRedis = cacher !== undefined && /^rediss?:\/\/[^/]/.test(cacher) && URL.canParse(cacher);
  // The value may hold a password, so it is not repeated.
  if (cacher !== undefined && cacher !== "memory" && !isRedis)
    faults.push("CACHER: expected memory or redis://host:port, got something else");

  const kafkaBrokers = list("KAFKA_BROKERS");
  for (const broker of kafkaBrokers)
    if (!/^[^/@\s:]+:\d{1,5}$/.test(broker)) faults.push(`KAFKA_BROKERS has ${broker}: expected host:port`);

  // A week, so that a consumer that was away over the holidays misses nothing.
  const eventRetentionDays = integer("EVENT_RETENTION_DAYS", 7, 1, 3_650);
  const kafkaRetentionDays = integer("KAFKA_RETENTION_DAYS", eventRetentionDays, 1, 3_650);
  if (kafkaRetentionDays > eventRetentionDays)
    faults.push(
      `KAFKA_RETENTION_DAYS=${kafkaRetentionDays}: more than EVENT_RETENTION_DAYS=${eventRetentionDays}; consumers ` +
        "remember what they took for twice the latter, and would take again what Kafka still had",
    );

  const rateLimit = rateLimitOf(text("RATE_LIMIT"), faults);

  const port = integer("PORT", 3000, 0, 65_535);
  const grpcPort = integer("GRPC_PORT", 50_051, 0, 65_535);
  const metricsPort =
    text("METRICS_PORT") === undefined ? undefined : integer("METRICS_PORT", 3030, 0, 65_535);
  // PORT is the gateway's alone.
  const taken = { PORT: services.includes("api") ? port : undefined, GRPC_PORT: grpcPort };
  for (const [name, number] of Object.entries(taken))
    if (metricsPort && metricsPort === number)
      faults.push(`METRICS_PORT=${metricsPort}: ${name} is the same; each needs a port of its own`);

  const adminEmail = text("ADMIN_EMAIL") ?? "admin@example.com";
  if (!adminEmail.includes("@")) faults.push(`ADMIN_EMAIL=${adminEmail}: expected an email address`);
  const adminPassword = env.ADMIN_PASSWORD === "" ? undefined : env.ADMIN_PASSWORD;
  if (adminPassword !== undefined && [...adminPassword].length < 8)
    faults.push("ADMIN_PASSWORD: expected at least 8 characters");

  const config: Config = {
    environment: oneOf("NODE_ENV", ENVIRONMENTS) ?? "development",
    port,
    grpcPort,
    grpcTls,
    participantToken,
    foreignParticipants: Object.freeze(foreignParticipants),
    metricsPort,
    otlpEndpoint: httpUrl("OTEL_EXPORTER_OTLP_ENDPOINT"),
    tracesRatio: ratio("OTEL_TRACES_SAMPLER_ARG"),
    dataDir: path.resolve(text("DATA_DIR") ?? ".data"),
    databaseUrl: postgresUrl("DATABASE_URL"),
    databaseUrls: Object.freeze(
      Object.fromEntries(
        DATABASES.map((name) => [name, postgresUrl(`DATABASE_URL_${environmentName(name)}`)]).filter(
          ([, url]) => url !== undefined,
        ),
      ),
    ),
    databasePoolMax: integer("DATABASE_POOL_MAX", 8, 2, 100),
    smtpUrl: smtpUrl("SMTP_URL"),
    mailFrom: mailboxOf(text("MAIL_FROM") ?? "Concord <shop@example.com>", faults),
    adminEmail,
    adminPassword,
    bcryptCost: integer("BCRYPT_COST", 10, 4, 15),
    trustedProxies: Object.freeze(list("TRUSTED_PROXIES")),
    corsOrigins: Object.freeze(list("CORS_ORIGINS")),
    mailboxCapacity: integer("MAILBOX_CAPACITY", 2_000, 1, 1_000_000),
    batchMax: integer("BATCH_MAX", 256, 1, 10_000),
    balancer: oneOf("BALANCER", BALANCERS) ?? "least-requests",
    cacher,
    inFlightMax: integer("IN_FLIGHT_MAX", 1_000, 1, 1_000_000),
    rateLimit,
    // A day, so that operators find yesterday's decisions, and longer than any message or paused process is likely to be
    // late: what comes later still is refused all the same. At most ten years.
    decisionRetentionHours: hours("DECISION_RETENTION_HOURS", 24, 87_600),
    kafkaBrokers: Object.freeze(kafkaBrokers),
    // Three consumers of one kind at once; more can be added to a topic later, and then a key may change its partition.
    kafkaPartitions: integer("KAFKA_PARTITIONS", 3, 1, 1_000),
    kafkaReplication: integer("KAFKA_REPLICATION", 1, 1, 10),
    kafkaRetentionDays,
    eventRetentionDays,
    transporter,
    serviceUrls: Object.freeze(serviceUrls),
    serviceSecret,
    services: Object.freeze(services),
    expectedServices: Object.freeze(expectedServices),
    namespace: text("NAMESPACE") ?? "shop",
    nodeId: text("NODEID") ?? `${hostname()}-${process.pid}-${Math.random().toString(36).slice(2, 6)}`,
    logLevel: oneOf("LOGLEVEL", LOG_LEVELS) ?? "info",
    logger: oneOf("LOGGER", LOGGERS),
  };

  if (faults.length > 0)
    throw new Error(
      `the configuration has ${faults.length} fault(s):\n${faults.map((f) => `  - ${f}`).join("\n")}`,
    );
  return Object.freeze(config);
}

/** All where nothing is said, but for those that are elsewhere. A node that would host nothing, or not what was meant, must not start. */
function servicesOf(
  said: string | undefined,
  names: string[],
  elsewhere: readonly string[],
  faults: string[],
): ServiceName[] {
  if (said === undefined) return SERVICES.filter((name) => !elsewhere.includes(name));
  const unknown = names.filter((name) => !(SERVICES as readonly string[]).includes(name));
  if (unknown.length > 0)
    faults.push(`SERVICES names ${unknown.join(", ")}: expected names among ${SERVICES.join(", ")}`);
  if (names.length === 0) faults.push(`SERVICES=${said} names no service: this node would host nothing`);
  return SERVICES.filter((name) => names.includes(name));
}

/** `transaction-manager` is TRANSACTION_MANAGER in a variable's name. */
export const environmentName = (service: string): string => service.toUpperCase().replaceAll("-", "_");

export const config: Config = loadConfig(process.env);
