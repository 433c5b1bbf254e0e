/**
 * The gRPC server of this process: the shop's services as their contract defines them, health (grpc.health.v1),
 * reflection, and the streams of our own nodes. It listens before the node is known to others, serves from the moment
 * the broker has started, and finishes what it has begun when it stops.
 */
import {
  logVerbosity,
  Server,
  type ServerDuplexStream,
  type ServiceDefinition,
  setLogVerbosity,
} from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import type { ActionSchema, ServiceBroker } from "moleculer";
import { STEPS_MS_MAX } from "../../lib/stop.ts";
import { CONTRACT, definitionOf, MAPPINGS, type Mapping, SERVED } from "../../proto/contract.ts";
import type { Principal, TokenVerifier } from "../token-verifier.ts";
import { serverCredentials } from "./credentials.ts";
import { PeerServer } from "./peer-server.ts";
import { type Serving, serveUnary } from "./unary.ts";
import { openWindows } from "./windows.ts";

// What goes wrong reaches us as an error; the library would write it to stderr beside our log.
setLogVerbosity(logVerbosity.NONE);

/** For reflection: each message brings the files of the whole contract along, and they need not be read for each. */
const DESCRIBED = Object.fromEntries(
  Object.entries(CONTRACT)
    .filter(([, definition]) => "fileDescriptorProtos" in definition)
    .slice(0, 1),
);

/** As NATS has it: an order may hold 1,000 lines, and a batch of prepares 512 KB. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;
/** A connection that is dead without saying so is found within 25 s. */
export const KEEPALIVE = { "grpc.keepalive_time_ms": 20_000, "grpc.keepalive_timeout_ms": 5_000 };
/** For last answers to get out, where somebody watches health for ever. */
const FLUSH_MS_MAX = 500;
/** What changes together is told together. */
const SETTLE_MS = 50;
/** After it, calls that still run are cut off. */
const DRAIN_MS_MAX = STEPS_MS_MAX.calls - FLUSH_MS_MAX;

export class GrpcServer {
  /** What our own nodes show when they open a stream to this one. */
  readonly token: string;
  readonly #broker: ServiceBroker;
  readonly #server = new Server({
    ...KEEPALIVE,
    "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
    "grpc.max_concurrent_streams": 1_000,
  });
  readonly #health = new HealthImplementation();
  /** Loaded for the first client from outside; most nodes never have one. */
  #verifier: TokenVerifier | undefined;
  readonly #peers: PeerServer;
  readonly #unary = new Set<Promise<void>>();
  /** The actions by method, until the services of the shop change. */
  #actions: Map<string, ActionSchema[]> | undefined;
  #telling: NodeJS.Timeout | undefined;
  #isOpen = false;
  #isListening = false;
  #closeWindows: () => void = () => undefined;

  constructor(broker: ServiceBroker, token: string) {
    this.#broker = broker;
    this.token = token;
    this.#peers = new PeerServer(broker, token);
    for (const [service, definition] of SERVED) this.#serve(service, definition);
    const calls = (stream: ServerDuplexStream<object, object>) => this.#peers.accept(stream as never);
    this.#server.addService(definitionOf("shop.v1.Peers"), { Calls: calls });
    this.#health.addToServer(this.#server as never);
    new ReflectionService(DESCRIBED).addToServer(this.#server);
    this.#tellHealth();
  }

  /** Answers the port. Rejects where it is taken. */
  async listen(port: number): Promise<number> {
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`0.0.0.0:${port}`, serverCredentials(), (err, taken) => {
        if (err) reject(new Error(`GRPC_PORT=${port} cannot be listened on: choose another`, { cause: err }));
        else resolve(taken);
      });
    });
    this.#isListening = true;
    this.#closeWindows = openWindows();
    return bound;
  }

  open(): void {
    this.#isOpen = true;
    this.#peers.open();
    this.#tellHealth();
    const changed = () => this.#changed();
    this.#broker.localBus.on("$services.changed", changed);
    this.#broker.localBus.on("$node.disconnected", changed);
  }

  /** The keys have changed: a token with an unknown one fetches them at once. */
  allowRefetch(): void {
    this.#verifier?.allowRefetch();
  }

  async drain(): Promise<void> {
    if (!this.#isListening) return;
    this.#isListening = false;
    this.#isOpen = false;
    clearTimeout(this.#telling);
    this.#tellHealth();
    const closed = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    const idle = Promise.allSettled([...this.#unary, this.#peers.drain()]);
    await within(idle, DRAIN_MS_MAX);
    await within(closed, FLUSH_MS_MAX);
    this.#server.forceShutdown();
    this.#closeWindows();
  }

  #serve(service: string, definition: ServiceDefinition): void {
    const serving: Serving = {
      broker: this.#broker,
      verify: (token) => this.#verify(token),
      actionsOf: (method) => this.#actionsOf(method),
      isOpen: () => this.#isOpen,
    };
    const methods = Object.keys(definition).map((name) => {
      const method = `${service}/${name}`;
      const mapping = MAPPINGS.get(method) as Mapping;
      const serve = (...[call, callback]: never[]) => {
        const work = serveUnary(serving, method, mapping, call as never, callback as never);
        this.#unary.add(work);
        void work.finally(() => this.#unary.delete(work));
      };
      return [name, serve];
    });
    this.#server.addService(definition, Object.fromEntries(methods));
  }

  async #verify(token: string): Promise<Principal> {
    if (!this.#verifier) {
      const { TokenVerifier } = await import("../token-verifier.ts");
      this.#verifier ??= new TokenVerifier({ fetchKeys: () => this.#broker.call("auth.jwks") });
    }
    return this.#verifier.verify(token);
  }

  #actionsOf(method: string): ActionSchema[] {
    this.#actions ??= Map.groupBy(
      this.#broker.registry
        .getActionList()
        .map(({ action }) => action as ActionSchema | undefined)
        .filter((action): action is ActionSchema => action?.grpc !== undefined),
      (action) => action.grpc as string,
    );
    return this.#actions.get(method) ?? [];
  }

  /** Several times as each node comes or goes: what is called is found anew, what is told is told once. */
  #changed(): void {
    this.#actions = undefined;
    this.#telling ??= setTimeout(() => {
      this.#telling = undefined;
      this.#tellHealth();
    }, SETTLE_MS).unref();
  }

  /** A service is healthy while some node serves each of its methods; the shop is, while this node is open. */
  #tellHealth(): void {
    this.#actions = undefined;
    const word = (isServing: boolean) => (isServing ? "SERVING" : "NOT_SERVING");
    this.#health.setStatus("", word(this.#isOpen));
    for (const [service, definition] of SERVED) {
      const methods = Object.keys(definition).map((name) => `${service}/${name}`);
      const isServed = methods.every((method) => this.#actionsOf(method).length > 0);
      this.#health.setStatus(service, word(this.#isOpen && isServed));
    }
  }
}

async function within(work: Promise<unknown>, ms: number): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, ms);
  await Promise.race([work, late.promise]);
  clearTimeout(timer);
}
