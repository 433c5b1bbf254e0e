/** A client of the gRPC server as anybody could write it: plain grpc-js over the .proto files. */
import {
  ChannelCredentials,
  type ClientOptions,
  loadPackageDefinition,
  Metadata,
  status,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const PROTO = new URL("../../proto/", import.meta.url).pathname;

export interface GrpcReply {
  /** OK, NOT_FOUND, ... */
  status: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came back
  message: any;
  details: string;
  /** The trailing metadata `shop-code`. */
  code: string | undefined;
  /** The problem document of `shop-problem-bin`. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads whatever came back
  problem: any;
  /** Of the initial metadata. */
  requestId: string | undefined;
}

export interface GrpcSend {
  token?: string | undefined;
  metadata?: Record<string, string>;
  deadlineMs?: number;
  /** Cancels the call when it is aborted. */
  signal?: AbortSignal;
}

type Unary = (...args: unknown[]) => {
  cancel(): void;
  on(event: string, listener: (m: Metadata) => void): void;
};

export class GrpcClient {
  readonly #address: string;
  readonly #options: ClientOptions;
  readonly #channel: ChannelCredentials;
  readonly #clients = new Map<string, Record<string, Unary> & { close(): void }>();
  // biome-ignore lint/suspicious/noExplicitAny: what grpc-js makes of a contract has no type
  readonly #contract: any;

  constructor(
    port: number,
    options: ClientOptions = {},
    channel: ChannelCredentials = ChannelCredentials.createInsecure(),
  ) {
    this.#channel = channel;
    this.#address = `127.0.0.1:${port}`;
    this.#options = { "grpc.use_local_subchannel_pool": 1, ...options };
    const files = ["products", "orders", "transactions", "peers"].map((name) => `shop/v1/${name}.proto`);
    this.#contract = loadPackageDefinition(
      loadSync(files, { includeDirs: [PROTO], longs: String, enums: String, defaults: true }),
    );
  }

  /** `method` as an action names it: `shop.v1.Products/GetProduct`. */
  call(method: string, request: object, send: GrpcSend = {}): Promise<GrpcReply> {
    const { token, metadata: fields = {}, deadlineMs = 10_000, signal } = send;
    const [service = "", name = ""] = method.split("/");
    const metadata = new Metadata();
    for (const [field, value] of Object.entries(fields)) metadata.set(field, value);
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    return new Promise((resolve) => {
      const reply: GrpcReply = {
        status: "OK",
        message: undefined,
        details: "",
        code: undefined,
        problem: undefined,
        requestId: undefined,
      };
      const call = this.#of(service)[name]?.(
        request,
        metadata,
        { deadline: Date.now() + deadlineMs },
        (err: { code: number; details: string; metadata?: Metadata } | null, message: unknown) => {
          if (err) {
            const problem = err.metadata?.get("shop-problem-bin")[0];
            reply.status = status[err.code] as string;
            reply.details = err.details;
            reply.code = err.metadata?.get("shop-code")[0]?.toString();
            reply.problem = problem && JSON.parse(problem.toString());
          } else reply.message = message;
          resolve(reply);
        },
      );
      if (!call) throw new Error(`the contract has no ${method}`);
      call.on("metadata", (initial) => {
        reply.requestId = initial.get("x-request-id")[0]?.toString();
      });
      signal?.addEventListener("abort", () => call.cancel(), { once: true });
    });
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }

  #of(service: string): Record<string, Unary> {
    let client = this.#clients.get(service);
    if (!client) {
      const [, , name = ""] = service.split(".");
      client = new this.#contract.shop.v1[name](this.#address, this.#channel, this.#options);
      this.#clients.set(service, client as never);
    }
    return client as Record<string, Unary>;
  }
}
