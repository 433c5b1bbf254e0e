/**
 * gRPC for one broker: serves the actions that declare `grpc` where this node hosts any, and carries calls to such actions
 * on other nodes over open streams. Also hands the caller's cancellation down: an action whose caller is gone is not
 * begun. One process has one server, and in a shop of one process nothing but that server differs. What carries and
 * serves is loaded by nodes that need it, because it is a good part of what a start costs.
 */
import { randomBytes } from "node:crypto";
import {
  type ActionSchema,
  type Context,
  Errors,
  type Middleware,
  type ServiceBroker,
  type ServiceSchema,
} from "moleculer";
import type { Peers } from "./grpc/peers.ts";
import type { GrpcServer } from "./grpc/server.ts";

type Handler = (ctx: Context) => Promise<unknown>;

export class Grpc {
  /** Where this node serves; undefined where it serves nothing or has not begun. */
  port: number | undefined;
  /** Undefined until an action that declares `grpc` was called on another node. */
  peers: Peers | undefined;
  #loading: Promise<void> | undefined;
  #isClosed = false;
  readonly #wishedPort: number;
  #server: GrpcServer | undefined;

  /** `port` 0 takes a free one. */
  constructor(port: number) {
    this.#wishedPort = port;
  }

  /** Finishes the calls that others have begun here, and begins no more. */
  async drain(): Promise<void> {
    await this.#server?.drain();
  }

  /** Innermost, so that everything else about a call is the same whichever way it takes. */
  get middleware(): Middleware {
    return {
      name: "Grpc",
      created: (broker) => {
        broker.owingNodes = () => this.peers?.owing() ?? [];
      },
      localAction: (next: Handler): Handler => cancellable(next),
      remoteAction: (next: Handler, action: ActionSchema): Handler => {
        if (action.grpc === undefined) return cancellable(next);
        return cancellable((ctx) => {
          if (this.peers) return this.peers.call(ctx, next);
          // The call goes over the message server, as it would while its stream opens.
          this.#loading ??= this.#load(ctx.broker);
          return next(ctx);
        });
      },
      starting: (broker) => this.#listen(broker),
      started: async () => this.#server?.open(),
      stopping: () => this.drain(),
      stopped: () => this.#close(),
    } as Middleware;
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    await this.#loading;
    this.peers?.close();
  }

  async #load(broker: ServiceBroker): Promise<void> {
    try {
      const { Peers } = await import("./grpc/peers.ts");
      if (!this.#isClosed) this.peers = new Peers(broker);
    } catch (err) {
      // Calls go over the message server until it can be loaded.
      broker.logger.warn("streams to other nodes cannot be loaded", err);
      this.#loading = undefined;
    }
  }

  /** Before the transporter connects: others learn the port with the first that they hear of this node. */
  async #listen(broker: ServiceBroker): Promise<void> {
    // The gateway's node serves what others host, as the gateway does.
    const isServing = broker.services.some(
      ({ name, schema }) =>
        name === "api" ||
        Object.values(schema.actions ?? {}).some((action) => (action as ActionSchema | undefined)?.grpc),
    );
    if (!isServing) return;
    // Told to other nodes only: whoever may call over the message server may call over a stream.
    const grpcToken = randomBytes(24).toString("base64url");
    const { GrpcServer } = await import("./grpc/server.ts");
    this.#server = new GrpcServer(broker, grpcToken);
    // A token signed with the new key may be here a moment later.
    const allowRefetch = () => this.#server?.allowRefetch();
    broker.createService({ name: "grpc", events: { "auth.keysRotated": allowRefetch } } as ServiceSchema);
    this.port = await this.#server.listen(this.#wishedPort);
    Object.assign(broker.metadata, { grpcPort: this.port, grpcToken, grpcPacks: true });
  }
}

/** A call is over for whom it descends from once their client is gone. */
const cancellable =
  (next: Handler): Handler =>
  (ctx) => {
    const signal = ctx.options.parentCtx?.locals?.signal ?? ctx.locals.signal;
    if (!signal) return next(ctx);
    if (signal.aborted)
      return Promise.reject(
        new Errors.RequestSkippedError({ action: ctx.action?.name as string, nodeID: ctx.nodeID as string }),
      );
    ctx.locals.signal = signal;
    return next(ctx);
  };
