/**
 * Properties of our own on Moleculer's actions. They travel to other nodes with the registry, so they are plain data.
 * The gateway reads them; so may every other way to reach an action.
 */
import "moleculer";

declare module "moleculer" {
  interface ServiceBroker {
    /** The nodes that owe an answer over a way of their own, beside the message server. */
    owingNodes?(): Iterable<string>;
  }

  /** A response of an action in the OpenAPI document; `schema` is JSON Schema 2020-12, `{ $ref }` included. */
  interface ActionResponse {
    description: string;
    schema?: Record<string, unknown>;
    /** application/json below 400, application/problem+json above, unless said otherwise. */
    mediaType?: string;
  }

  interface ActionSchema {
    /**
     * Who may call over the public interfaces. Absent means "user": an endpoint is never open by omission. "service" is
     * another service of the shop, by SERVICE_SECRET; without one such a route does not exist. "participant" is whoever
     * shows PARTICIPANT_TOKEN, over gRPC alone.
     */
    auth?: "none" | "user" | "admin" | "service" | "participant";
    /** The method of proto/shop/v1/ that serves the action; our own nodes call it over one open stream. */
    grpc?: string;
    /** Names of the params that come from the query string; the path's come from the path, all others from the body. */
    query?: string[];
    /** HTTP status of success where the action sets none by `ctx.meta.$statusCode`; 200 by default. */
    successStatus?: number;
    /** May run twice with the effect of once, so it may be retried after a timeout. */
    idempotent?: boolean;
    /** False: no middleware repeats or holds back a call of it, because its callers do, or because nobody may. */
    retry?: false;
    /** Answered within `timeout` whatever fails behind it, so that only a time-out speaks against its node. */
    answersInTime?: true;
    /** Param (`id`) or member of meta (`#user.id`) by which the rendezvous balancer keeps calls at one node. */
    key?: string;
    /** The gateway may answer with its last copy while the service is away; members named by `omit` read null then. */
    staleIfError?: { seconds: number; omit?: string[] };
    /** Milliseconds the action may take, instead of the broker's requestTimeout. */
    timeout?: number;
    openapi?: {
      summary: string;
      description?: string;
      tags?: string[];
      responses?: Record<number, ActionResponse>;
      /** Request headers that mean something here: "Idempotency-Key", "If-Match", "If-None-Match". */
      headers?: string[];
      /** Named schemas that `{ $ref: "#/components/schemas/Name" }` may point to, here and in other actions. */
      schemas?: Record<string, Record<string, unknown>>;
    };
  }
}
