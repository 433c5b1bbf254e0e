/**
 * A worker cluster on this machine: the shop as many processes that reach each other over NATS, with PostgreSQL and
 * NATS where none are named, and Kafka where it is asked for. Nothing is left running when `stop` has resolved, or when this process is killed, except
 * PostgreSQL, which the next start adopts. `npm run cluster` and the drills use it alike.
 */
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { databaseUrlOf } from "../../config/database.ts";
import { type Config, DATABASES, loadConfig, type ServiceName } from "../../config/index.ts";
import { NATS_TRANSPORTER } from "../../mixins/nats.transporter.ts";
import type { NodeStatus } from "../../services/node/api.ts";
import { freePort } from "../ports.ts";
import { keepPostgres } from "../postgres.keeper.ts";
import { seedEmptyCatalogue } from "../seed/catalogue.ts";
import { startKafka } from "../servers/kafka.ts";
import { startNats } from "../servers/nats.ts";
import { createShop, type ShopBroker } from "../shop.ts";
import { type Administrator, administratorOf, confirmAdministrator } from "./administrator.ts";
import { Group } from "./group.ts";
import { planOf, type Scale } from "./plan.ts";
import { Worker, type WorkerState } from "./worker.process.ts";

export interface ClusterOptions {
  /** What the shop is configured by, as for npm start; this process's own by default. PORT 0 takes a free one. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Processes per service; two gateways and one of each other where nothing is said. */
  scale?: Scale;
  /** With events over a Kafka: the one that KAFKA_BROKERS names, or one of its own, which keeps its topics in DATA_DIR. */
  kafka?: boolean;
  /** Told what happens to the cluster, a line at a time. */
  say?: (line: string) => void;
  /** Told what the workers print. */
  print?: (line: string) => void;
}

export interface WorkerView {
  /** The part of the shop: one service, or order with its transaction manager. */
  service: string;
  nodeID: string;
  pid: number;
  state: WorkerState;
}

export interface WorkerStatus extends WorkerView {
  /** What the node says of itself; undefined where it does not answer. */
  node?: NodeStatus | undefined;
}

export interface ClusterStatus {
  url: string;
  transporter: string;
  /** Undefined where events need no Kafka. */
  kafkaBrokers?: string | undefined;
  workers: WorkerStatus[];
  /** Parts whose workers keep crashing, with the last reason. */
  failing: { service: string; reason: string }[];
}

/** A node that is well answers in milliseconds; one that is paused never does. */
const STATUS_MS_MAX = 2_000;

type Undo = () => Promise<unknown>;

export class Cluster {
  readonly config: Config;
  readonly url: string;
  readonly transporter: string;
  readonly kafkaBrokers: string | undefined;
  readonly administrator: Administrator;
  readonly #groups: Group[];
  readonly #broker: ShopBroker;
  readonly #undo: Undo[];
  #restarting = false;

  constructor(parts: {
    config: Config;
    transporter: string;
    kafkaBrokers: string | undefined;
    administrator: Administrator;
    groups: Group[];
    broker: ShopBroker;
    undo: Undo[];
  }) {
    this.config = parts.config;
    this.url = `http://localhost:${parts.config.port}`;
    this.transporter = parts.transporter;
    this.kafkaBrokers = parts.kafkaBrokers;
    this.administrator = parts.administrator;
    this.#groups = parts.groups;
    this.#broker = parts.broker;
    this.#undo = parts.undo;
  }

  workers(service?: ServiceName): WorkerView[] {
    return this.#groups
      .filter(({ services }) => service === undefined || services.includes(service))
      .flatMap(({ name, workers }) =>
        [...workers].map(({ nodeID, pid, state }) => ({ service: name, nodeID, pid, state })),
      );
  }

  /** Where a node serves gRPC, and takes the calls of others over streams; undefined where it does not. */
  grpcPortOf(nodeID: string): number | undefined {
    const nodes = this.#broker.registry.nodes as unknown as {
      get(id: string): { metadata: { grpcPort?: number } } | undefined;
    };
    return nodes.get(nodeID)?.metadata.grpcPort;
  }

  async status(): Promise<ClusterStatus> {
    const ask = async (worker: WorkerView): Promise<WorkerStatus> => {
      if (worker.state !== "ready") return worker;
      const options = { nodeID: worker.nodeID, timeout: STATUS_MS_MAX };
      const node = await this.#broker
        .call<NodeStatus, object>("node.status", {}, options)
        .catch(() => undefined);
      return { ...worker, node };
    };
    return {
      url: this.url,
      transporter: this.transporter,
      kafkaBrokers: this.kafkaBrokers,
      workers: await Promise.all(this.workers().map(ask)),
      failing: this.#groups
        .filter(({ isFailing }) => isFailing)
        .map(({ name, lastCrash }) => ({ service: name, reason: lastCrash ?? "" })),
    };
  }

  /** Workers that were ready and have ended by themselves, or by somebody else's hand. */
  get crashes(): number {
    return this.#groups.reduce((sum, { restarts }) => sum + restarts, 0);
  }

  /**
   * Restarts every worker, or those of some services, one after the other; each is ready before its predecessor goes.
   * False where one of these did not end and was killed.
   */
  async restart(
    services?: readonly string[],
    say: (line: string) => void = () => undefined,
  ): Promise<boolean> {
    if (this.#restarting) throw new Error("a rolling restart is under way; wait for its end");
    const unknown = services?.filter((name) => !this.#groups.some((group) => group.name === name)) ?? [];
    if (unknown.length > 0)
      throw new Error(
        `no workers of ${unknown.join(", ")}: there are ${this.#groups.map((g) => g.name).join(", ")}`,
      );
    this.#restarting = true;
    try {
      let clean = true;
      for (const group of this.#groups)
        if (services === undefined || services.length === 0 || services.includes(group.name))
          clean = (await group.restart(say)) && clean;
      return clean;
    } finally {
      this.#restarting = false;
    }
  }

  /** Drains everything, gateways first: what they have accepted needs the others. False where something was killed. */
  async stop(): Promise<boolean> {
    return undo(this.#undo);
  }
}

/** Resolves when every worker is ready. Throws, with nothing left running, where one keeps crashing. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { env = process.env, scale = {}, kafka = false } = options;
  const { say = () => undefined, print = () => undefined } = options;
  const steps: Undo[] = [];
  try {
    return await start({ env, scale, kafka, say, print }, steps);
  } catch (err) {
    await undo(steps);
    throw err;
  }
}

async function start(options: Required<ClusterOptions>, steps: Undo[]): Promise<Cluster> {
  const { env, scale, kafka, say, print } = options;
  // Which services a worker hosts, and its name, are ours to say.
  const common = {
    ...env,
    SERVICES: undefined,
    NODEID: undefined,
    // One port cannot serve them all: each takes a free one, and its log says which.
    METRICS_PORT: env.METRICS_PORT ? "0" : undefined,
  };
  const asked = loadConfig(common);
  const config = { ...asked, port: asked.port || (await freePort()) };

  const isEmbedded = DATABASES.some((name) => !config.databaseUrl && !config.databaseUrls[name]);
  if (isEmbedded) {
    const postgres = await keepPostgres({ dataDir: config.dataDir, log: say });
    steps.push(() => postgres.stop());
    say(`PostgreSQL ${postgres.version} ${postgres.adopted ? "was running" : "runs"} in ${config.dataDir}`);
  }
  const transporter = config.transporter ?? (await startTransporter(say, steps));
  const kafkaBrokers = kafka ? await startBrokers(config.dataDir, say, steps) : env.KAFKA_BROKERS;
  const broker = await createShop({
    services: [],
    overrides: {
      nodeID: `cluster-${process.pid}`,
      namespace: config.namespace,
      transporter: { type: NATS_TRANSPORTER, options: { url: transporter } },
      logger: false,
    },
  });
  steps.push(() => broker.stop());
  await broker.start();

  const administrator = await administratorOf(config, isEmbedded);
  const open = ({ nodeID, services }: { nodeID: string; services: readonly ServiceName[] }): Worker =>
    new Worker({
      nodeID,
      services,
      print,
      env: {
        ...common,
        SERVICES: services.join(","),
        NODEID: nodeID,
        TRANSPORTER: transporter,
        KAFKA_BROKERS: kafkaBrokers,
        PORT: String(config.port),
        // The gateways share one, as they share PORT. The others tell their peers which free one they took.
        GRPC_PORT: services.includes("api") ? String(config.grpcPort) : "0",
        ADMIN_PASSWORD: administrator.password,
        // A worker's output is a pipe; whoever reads ours decides.
        LOGGER: config.logger ?? (process.stdout.isTTY ? "console" : "pino"),
      },
    });
  const groups = planOf(scale).map((plan) => new Group({ ...plan, open, say }));
  steps.push(() => stopGroups(groups));
  const startedAt = performance.now();
  say(
    `starting ${groups.map(({ name, replicas }) => (replicas > 1 ? `${name} x ${replicas}` : name)).join(", ")} ...`,
  );
  await Promise.all(groups.map((group) => group.start()));
  say(`all are ready after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);

  const cluster = new Cluster({
    config,
    transporter,
    kafkaBrokers,
    administrator,
    groups,
    broker,
    undo: steps,
  });
  await confirmAdministrator(administrator, cluster.url, isEmbedded ? config.dataDir : undefined);
  if (config.environment !== "test") {
    const added = await seedEmptyCatalogue(databaseUrlOf("product", config));
    if (added > 0) say(`seeded the empty catalogue with ${added} demo products`);
  }
  return cluster;
}

async function startTransporter(say: (line: string) => void, steps: Undo[]): Promise<string> {
  const nats = await startNats({ log: say });
  steps.push(() => nats.stop());
  say(`NATS ${nats.pid === undefined ? "is" : "runs"} at ${nats.url}`);
  return nats.url;
}

/** What it was told is marked as told in the outboxes, so it must not forget it between two clusters. */
async function startBrokers(dataDir: string, say: (line: string) => void, steps: Undo[]): Promise<string> {
  const directory = path.join(dataDir, "kafka");
  await mkdir(directory, { recursive: true });
  const kafka = await startKafka({ log: say, directory });
  steps.push(() => kafka.stop());
  say(kafka.pid === undefined ? `Kafka is at ${kafka.url}` : `Kafka runs at ${kafka.url} in ${directory}`);
  return kafka.url;
}

/** Gateways, then those who drive transactions, then those whom both need. */
async function stopGroups(groups: Group[]): Promise<boolean> {
  const drivers: readonly string[] = ["order", "transaction-manager"];
  const phases = [
    groups.filter(({ name }) => name === "api"),
    groups.filter(({ name }) => drivers.includes(name)),
    groups.filter(({ name }) => name !== "api" && !drivers.includes(name)),
  ];
  let clean = true;
  for (const phase of phases)
    clean = (await Promise.all(phase.map((group) => group.stop()))).every(Boolean) && clean;
  return clean;
}

/** Backwards, each step even where another fails. Answers whether all went as it should. */
async function undo(steps: Undo[]): Promise<boolean> {
  let clean = true;
  for (const step of steps.splice(0).reverse()) {
    try {
      if ((await step()) === false) clean = false;
    } catch (err) {
      console.error(`a part of the cluster did not stop: ${(err as Error).message}`);
      clean = false;
    }
  }
  return clean;
}
