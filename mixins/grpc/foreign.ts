/**
 * A participant outside the shop, called by shop.v1.Participant. Whatever goes wrong on the way is an error and never a
 * vote or an acknowledgement; an answer that the contract does not know, or of another length, is wrong too.
 */
import { Client, Metadata, type MethodDefinition, type ServiceError, status } from "@grpc/grpc-js";
import type { DecisionReply, PrepareEntry, PrepareReply, TxId } from "../../actors/protocol/messages.ts";
import { ShopError } from "../../lib/errors.ts";
import { definitionOf } from "../../proto/contract.ts";
import { Abort, Commit, Prepare, Prune, RaiseSeal } from "../../proto/transactions.ts";
import { clientCredentials } from "./credentials.ts";
import { KEEPALIVE } from "./server.ts";

/** Nobody was there, or not in time: the same message may be sent again, as every message to a participant may. */
const AGAIN = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.CANCELLED,
  status.RESOURCE_EXHAUSTED,
]);

export class ForeignParticipant {
  readonly #name: string;
  readonly #client: Client;
  readonly #metadata = new Metadata();
  readonly #timeoutMs: number;

  /** `address` is host:port; `token` is what both sides show each other. */
  constructor(name: string, address: string, token: string, timeoutMs: number) {
    this.#name = name;
    this.#timeoutMs = timeoutMs;
    this.#client = new Client(address, clientCredentials(true), {
      ...KEEPALIVE,
      "grpc.use_local_subchannel_pool": 1,
      // A participant that restarts is back within seconds, and orders wait for it.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.min_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 2_000,
    });
    this.#metadata.set("authorization", `Bearer ${token}`);
  }

  async prepare(entries: PrepareEntry[]): Promise<PrepareReply[]> {
    const response = await this.#call("Prepare", Prepare.toRequest(this.#name, entries));
    return this.#understood(() => Prepare.fromResponse(response), entries.length);
  }

  async commit(txIds: TxId[]): Promise<DecisionReply[]> {
    const response = await this.#call("Commit", Commit.toRequest(this.#name, txIds));
    return this.#understood(() => Commit.fromResponse(response), txIds.length);
  }

  async abort(txIds: TxId[]): Promise<DecisionReply[]> {
    const response = await this.#call("Abort", Abort.toRequest(this.#name, txIds));
    return this.#understood(() => Abort.fromResponse(response), txIds.length);
  }

  async raiseSeal(upTo: TxId): Promise<TxId> {
    return RaiseSeal.fromResponse(await this.#call("RaiseSeal", RaiseSeal.toRequest(this.#name, upTo)));
  }

  async prune(watermark: TxId, limit: number): Promise<number> {
    return Prune.fromResponse(await this.#call("Prune", Prune.toRequest(this.#name, watermark, limit)));
  }

  close(): void {
    this.#client.close();
  }

  #understood<Reply>(read: () => Reply[], length: number): Reply[] {
    let replies: Reply[];
    try {
      replies = read();
    } catch (cause) {
      const { data } = cause as ShopError;
      throw new Error(`${this.#name} answered against the contract: ${JSON.stringify(data)}`, { cause });
    }
    if (replies.length === length) return replies;
    throw new Error(`${this.#name} answered ${replies.length} replies to ${length} messages`);
  }

  #call(method: string, request: object): Promise<object> {
    const { path, requestSerialize, responseDeserialize } = definitionOf("shop.v1.Participant")[
      method
    ] as MethodDefinition<object, object>;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        this.#metadata,
        { deadline: Date.now() + this.#timeoutMs },
        (err, response) => (err ? reject(this.#failure(method, err)) : resolve(response as object)),
      );
    });
  }

  #failure(method: string, { code, details }: ServiceError): Error {
    const what = `${this.#name} failed at ${method}: ${status[code]} ${details}`;
    return AGAIN.has(code) ? new ShopError("unavailable", what) : new Error(what);
  }
}
