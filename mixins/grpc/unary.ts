/**
 * The way of one unary call: action, caller, message, call, answer; what gateway does for REST. The client's deadline
 * becomes the call's time-out; once the client is gone, nothing that has not begun begins any more.
 */
import { Metadata, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import type { ActionSchema, Context, ServiceBroker } from "moleculer";
import { config } from "../../config/index.ts";
import { ShopError } from "../../lib/errors.ts";
import { bearerTokenOf, idempotencyKeyOf, requestIdOf } from "../../lib/headers.ts";
import { parseTraceparent } from "../../lib/traceparent.ts";
import { type Mapping, refuseFaultyStrings } from "../../proto/contract.ts";
import type { Principal } from "../token-verifier.ts";
import { isSameSecret } from "./credentials.ts";
import { statusOf } from "./status.ts";

export type UnaryCall = ServerUnaryCall<object, object>;

export interface Serving {
  broker: ServiceBroker;
  verify(token: string): Promise<Principal>;
  /** The actions that serve a method; of participants there are several. */
  actionsOf(method: string): ActionSchema[];
  isOpen(): boolean;
}

interface Meta {
  user: Principal | null;
  requestId: string;
  clientAddress: string;
  idempotencyKey?: string;
}

export async function serveUnary(
  serving: Serving,
  method: string,
  mapping: Mapping,
  call: UnaryCall,
  callback: sendUnaryData<object>,
): Promise<void> {
  const sent = (name: string) => call.metadata.get(name)[0];
  const requestId = requestIdOf(sent("x-request-id"));
  const initial = new Metadata();
  initial.set("x-request-id", requestId);
  call.sendMetadata(initial);
  let params: object | undefined;
  try {
    if (!serving.isOpen()) throw new ShopError("unavailable", "This node is starting or stopping.");
    const action = actionOf(serving.actionsOf(method), call.request);
    const meta: Meta = {
      user: await callerOf(serving, action, bearerTokenOf(sent("authorization"))),
      requestId,
      clientAddress: call.getPeer().replace(/:\d+$/, ""),
    };
    const idempotencyKey = idempotencyKeyOf(sent("idempotency-key"));
    if (idempotencyKey !== undefined) meta.idempotencyKey = idempotencyKey;
    params = mapping.toParams(call.request);
    refuseFaultyStrings(params);
    const root = rootContext(serving.broker, call, action, meta);
    // The caller's trace goes on here, where traces are kept.
    const parentSpan = serving.broker.isTracingEnabled() && parseTraceparent(sent("traceparent"));
    const result = await root.call(action.name as string, params, parentSpan ? { parentSpan } : {});
    callback(null, mapping.toResponse(result, root.meta));
  } catch (err) {
    const { shopCode, ...status } = statusOf(err, { requestId, instance: call.getPath(), params });
    const { logger } = serving.broker;
    if (shopCode === "internal_error")
      logger.error(`${method} failed`, { requestId, stack: (err as Error | null)?.stack ?? String(err) });
    callback(status);
  }
}

function actionOf(actions: ActionSchema[], request: { participant?: string }): ActionSchema {
  const [only] = actions;
  if (!only) throw new ShopError("unavailable", "No node of the shop serves this method now.");
  if (actions.length === 1 && request.participant === undefined) return only;
  const action = actions.find(({ name }) => name?.split(".")[0] === request.participant);
  if (action) return action;
  throw new ShopError("validation_failed", "There is no such participant here.", {
    errors: [{ pointer: "/participant", code: "unknown", message: "must name a participant of the shop" }],
  });
}

/** Who calls: a user by an access token; nobody where none is needed, or where the shared token is. */
async function callerOf(
  { verify }: Serving,
  { auth = "user" }: ActionSchema,
  token: string | undefined,
): Promise<Principal | null> {
  if (auth === "none") return null;
  if (token === undefined)
    throw new ShopError(
      "unauthorized",
      "Send an access token as the metadata authorization: Bearer <token>.",
    );
  if (auth === "participant") {
    if (isSameSecret(token, config.participantToken)) return null;
    throw new ShopError("forbidden", "This is for participants, by the token that they share with the shop.");
  }
  const caller = await verify(token);
  // A word we do not know means the strictest we have.
  if (auth !== "user" && !caller.roles.includes("admin"))
    throw new ShopError("forbidden", "This needs the role admin.");
  return caller;
}

/** What the action's context descends from, so that it inherits deadline, cancellation and meta. */
function rootContext(
  broker: ServiceBroker,
  call: UnaryCall,
  action: ActionSchema,
  meta: Meta,
): Context<unknown, object> {
  const cancelled = new AbortController();
  if (call.cancelled) cancelled.abort();
  else call.once("cancelled", () => cancelled.abort());
  const root = new broker.ContextFactory(broker) as Context<unknown, object>;
  Object.assign(root, { requestID: meta.requestId, meta, locals: { signal: cancelled.signal } });
  const limitMs = action.timeout ?? broker.options.requestTimeout ?? 0;
  const deadlineMs = Number(call.getDeadline()) - Date.now();
  if (Number.isFinite(deadlineMs)) {
    // Not 0, which would mean no limit.
    root.options.timeout = Math.max(1, limitMs > 0 ? Math.min(deadlineMs, limitMs) : deadlineMs);
    (root as unknown as { startHrTime: [number, number] }).startHrTime = process.hrtime();
  }
  return root;
}
